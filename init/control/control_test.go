package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/seqpacket"
	"holdfast/rootfs/tree"
)

func TestRootNamesTheReadersGroup(t *testing.T) {
	want := fmt.Sprintf("\n%s:x:%d:\n", GroupReaderName, GroupReader)
	for _, f := range tree.Base("0") {
		if f.Path == "/etc/group" {
			if !strings.Contains(string(f.Data), want) {
				t.Errorf("%s is %q, want a line %q", f.Path, f.Data, want)
			}
			return
		}
	}
	t.Error("the root has no /etc/group")
}

func TestRoleMay(t *testing.T) {
	for _, c := range []struct {
		role, needed Role
		want         bool
	}{
		{Operator, Operator, true}, {Operator, Reader, true}, {Reader, Reader, true},
		{Reader, Operator, false}, {Nobody, Reader, false}, {Nobody, Operator, false}, {"root", Operator, false},
		{Nobody, Nobody, false}, {Reader, Nobody, false},
	} {
		if got := c.role.May(c.needed); got != c.want {
			t.Errorf("%q may do what needs %q: %v", c.role, c.needed, got)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for text, want := range map[string]Error{
		``:                          {BadRequest, "unexpected end"},
		`null`:                      {BadVersion, "version 0, want 1"},
		`{"version":2}`:             {BadVersion, "version 2, want 1"},
		`{"version":1,"wat":true}`:  {BadRequest, `unknown field "wat"`},
		`{"version":1,"lines":"1"}`: {BadRequest, "cannot unmarshal string"},
		`{"version":1,"lines":-5}`:  {BadRequest, "lines is -5"},
		`{"version":1} {}`:          {BadRequest, "after top-level value"},
		strings.Repeat(" ", MaxRequest) + `{"version":1}`: {BadRequest, "at most 4096"},
	} {
		_, err := DecodeRequest([]byte(text))
		if CodeOf(err) != want.Code || !strings.Contains(err.Error(), want.Text) {
			t.Errorf("%.40q: %v, want %s: …%s…", text, err, want.Code, want.Text)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"call":"logs","service":"a","lines":3,"sinceMs":5,"follow":true}`))
	f.Add([]byte(`{"version":1,"call":"start","service":"a","wait":true}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > MaxRequest {
			return // escapes may be longer than what they stand for
		}
		if back, err := DecodeRequest(again); err != nil || back != r {
			t.Errorf("%+v came back as %+v, %v", r, back, err)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, a := range []Answer{
		{End: true, Error: &Error{Busy, "text"}}, {Hello: &Hello{1, Reader}}, {Service: &Service{CPUUsec: 3}},
		{Lines: []Line{{1, LineMark, []byte("x")}}}, {Event: &Event{Kind: EventLost, Lost: 3}},
	} {
		b, err := json.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAnswer(b)
		if err != nil {
			return
		}
		new(lineWriter).render(a.Lines)
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > MaxAnswer {
			return
		}
		back, err := DecodeAnswer(again)
		if err != nil || back.End != a.End || len(back.Lines) != len(a.Lines) || !reflect.DeepEqual(back.Error, a.Error) {
			t.Errorf("%+v came back as %+v, %v", a, back, err)
		}
	})
}

func TestLinesAreRendered(t *testing.T) {
	lines := []Line{
		{1e12, LineWhole, []byte("one")}, {1e12, LineMark, []byte("3 bytes were lost here")},
		{1e12, LinePiece, []byte("lo")}, {1e12, LinePiece, []byte("n")}, {1e12, LineWhole, []byte("g")}, {0, LineForeign, []byte("?")},
	}
	const at = "2001-09-09T01:46:40.000Z "
	for times, want := range map[bool]string{
		false: "one\n[3 bytes were lost here]\nlong\n?\n",
		true:  at + "one\n" + at + "[3 bytes were lost here]\n" + at + "long\n1970-01-01T00:00:00.000Z ?\n",
	} {
		w, got := lineWriter{times: times}, ""
		for _, l := range lines { // one at a time: a line may go on in the next answer
			got += string(w.render([]Line{l}))
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDialWithoutAServer(t *testing.T) {
	if _, err := Dial(context.Background(), filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// server answers each connection with what f sends.
func server(t *testing.T, f func(*seqpacket.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := seqpacket.Listen(path, os.Getgid(), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return path
}

func TestClientSurvivesWhatAServerShouldNotDo(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*seqpacket.Conn)
		want   string
	}{
		"hangs up":      {func(*seqpacket.Conn) {}, "hung up"},
		"says garbage":  {func(c *seqpacket.Conn) { c.Send([]byte("x"), time.Second) }, "read answer"},
		"says too much": {func(c *seqpacket.Conn) { c.Send(make([]byte, MaxAnswer+1), time.Second) }, "too long"},
		"never ends":    {func(c *seqpacket.Conn) { c.Send([]byte("{}"), time.Second); c.Receive(make([]byte, 1), time.Second) }, "hung up"},
		"refuses unread": {func(c *seqpacket.Conn) {
			c.Send([]byte(`{"end":true,"error":{"code":"busy","text":"later"}}`), time.Second)
		}, "later"},
	} {
		_, err := Dial(context.Background(), server(t, c.answer))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a server that %s: %v, want %q", name, err, c.want)
		}
	}
}

func TestCallsEndWithTheirContextAndTheirClient(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	path := server(t, func(c *seqpacket.Conn) {
		buf := make([]byte, MaxRequest)
		n, err := c.Receive(buf, time.Second)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(buf[:n]), "hello") {
			c.Send([]byte(`{"hello":{"version":1,"role":"reader"}}`), time.Second)
			c.Send([]byte(`{"end":true}`), time.Second)
			return
		}
		<-release
	})
	c, err := Dial(context.Background(), path)
	if err != nil || c.Role() != Reader {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { c.Close() })
	if err := c.Events(context.Background(), func(Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := c.List(context.Background()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
