package operator

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/control"
)

func TestEveryCallHasARole(t *testing.T) {
	for _, c := range control.Calls {
		if needs := calls[c].needs; needs != control.Reader && needs != control.Operator || calls[c].do == nil {
			t.Errorf("%s needs role %q", c, needs)
		}
	}
	if len(calls) != len(control.Calls) {
		t.Errorf("%d calls have a role, want all %d", len(calls), len(control.Calls))
	}
}

var (
	root      = specs.User{}
	reader    = specs.User{UID: 1234, GID: control.GroupReader}
	alsoIn    = specs.User{UID: 1234, GID: 5678, AdditionalGids: []uint32{7, control.GroupReader}}
	operator  = specs.User{UID: 1234, GID: control.GroupReader, AdditionalGids: []uint32{control.GroupOperator}}
	otherwise = specs.User{UID: 1234, GID: 5678, AdditionalGids: []uint32{7}}
)

// TestEveryCallByEveryRole makes each call as each kind of caller. The mode of
// the socket, which keeps most of them out before that, is lifted.
func TestEveryCallByEveryRole(t *testing.T) {
	n := start(t, service(t, "a", "exec sleep 600"))
	if err := os.Chmod(n.path, 0o666); err != nil {
		t.Fatal(err)
	}
	pod := fmt.Sprintf("/kubepods/operator-test-%d", os.Getpid())
	for _, c := range []struct {
		name  string
		user  specs.User
		group string
		role  control.Role
	}{
		{"root", root, "", control.Operator},
		{"group", reader, "", control.Reader},
		{"supplementary group", alsoIn, "", control.Reader},
		{"operators' group", operator, "", control.Operator},
		{"operators' group in a pod", operator, pod, control.Nobody},
		{"stranger", otherwise, "", control.Nobody},
		{"root in a pod", root, pod, control.Nobody},
		{"group in a pod", reader, pod, control.Nobody},
		{"beside pods", root, pod[:len("/kubepods")] + "-not" + pod[len("/kubepods"):], control.Operator},
	} {
		want := ""
		for _, asked := range control.Calls {
			needs := calls[asked].needs
			result := "ok"
			switch {
			case c.role == control.Nobody:
				result = string(control.Refused)
			case c.role == control.Reader && needs == control.Operator:
				result = string(control.Forbidden)
			case asked == control.CallStatus || asked == control.CallLogs || asked == control.CallStart || asked == control.CallStop || asked == control.CallRestart:
				result = string(control.Unknown)
			}
			want += fmt.Sprintln(asked, result)
		}
		if got := n.outputAs(t, c.user, c.group, "all"); got != want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, want)
		}
	}
	for range 6 { // power-off and reboot by the three operators
		<-n.power
	}
	if len(n.power) > 0 {
		t.Error("somebody else had the machine go down")
	}
}

func TestStrangersAreKeptOutByTheSocketsMode(t *testing.T) {
	n := start(t)
	for want, user := range map[string]specs.User{"refused hello: connect to": otherwise, " <nil>": reader} {
		if got := n.outputAs(t, user, "", "dial"); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	st, err := os.Stat(n.path)
	if err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestFloodByReadersKeepsNoOperatorOut: two processes connect as fast as they
// can, and hold what they have.
func TestFloodByReadersKeepsNoOperatorOut(t *testing.T) {
	n := start(t, service(t, "a", "exec sleep 600"))
	var ends []func()
	for range 2 {
		out, end := n.callAs(t, reader, "", "flood")
		ends = append(ends, func() { out.Close(); end() })
		if line, err := bufio.NewReaderSize(out, 16).ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
	}
	c := n.dial(t)
	for range 50 {
		if list, err := c.List(within(t)); err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if err := c.Restart(within(t), "a"); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range ends {
		end()
	}
	eventually(t, "readers are let in again", func() bool { return n.outputAs(t, reader, "", "dial") == " <nil>\n" })
}
