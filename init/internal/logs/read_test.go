package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRecordsRoundTrip(t *testing.T) {
	at := time.Date(2026, 10, 1, 12, 0, 0, 123e6, time.UTC)
	for _, want := range []Line{{at, Whole, []byte("text")}, {at, Piece, []byte("")}, {at, Mark, []byte("x!")}} {
		b := appendRecord(nil, stamp(at), want.Kind, want.Text[:len(want.Text)/2], want.Text[len(want.Text)/2:])
		if len(b) != headBytes+len(want.Text)+1 {
			t.Errorf("%q has %d bytes", b, len(b))
		}
		got, rest := parseLines(b)
		if len(got) != 1 || len(rest) != 0 || !got[0].At.Equal(at) || got[0].Kind != want.Kind || string(got[0].Text) != string(want.Text) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("2026-10-01T12:00:00.123Z text"))
	f.Add([]byte("2026-10-01T12:00:00.123Z!\x1b[31m\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		line := parseLine(b)
		if line.Kind == Foreign && string(line.Text) != string(b) {
			t.Error("text of a foreign line is lost")
		}
		if line.Kind != Foreign && len(line.Text) != len(b)-headBytes {
			t.Errorf("text has %d bytes of %d", len(line.Text), len(b))
		}
		for _, r := range line.String() {
			if r < ' ' && r != '\t' || r == 0x7f {
				t.Errorf("%q can control a terminal", line.String())
			}
		}
	})
}

// filled has printed lines 0 to n-1, and they are in files.
func filled(t *testing.T, s *Store, dir string, n int) *Log {
	t.Helper()
	l := s.Log("a")
	w := attach(t, l)
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%06d\n", i)
	}
	put(t, w, b.String())
	w.Close()
	eventually(t, "all is written", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.inputs) == 0 && l.written == l.ring.end
	})
	return l
}

// check tells whether got is the numbers from first to last.
func check(t *testing.T, got []string, first, last int) {
	t.Helper()
	if len(got) != last-first+1 {
		t.Fatalf("%d lines, want %d", len(got), last-first+1)
	}
	for i, line := range got {
		if line != fmt.Sprintf("%06d", first+i) {
			t.Fatalf("line %d is %q, want %06d", i, line, first+i)
		}
	}
}

func TestNewestLinesComeFromMemoryAndFiles(t *testing.T) {
	dir := t.TempDir()
	const n = 100_000 // 3.2 MB: several parts
	l := filled(t, store(t, dir), dir, n)
	if len(l.parts) < 3 || l.ring.first() == 0 {
		t.Fatalf("%d parts, memory from %d: not what this test is about", len(l.parts), l.ring.first())
	}
	inMemory := int(l.ring.end-l.ring.first()) / (headBytes + 7)
	perPart := int(l.parts[0].size) / (headBytes + 7)
	for _, want := range []int{1, 2, inMemory - 1, inMemory, inMemory + 1, perPart, n - perPart - 1, n - perPart, n - perPart + 1, n - 1, n} {
		check(t, lines(t, l, Options{Lines: want}), n-want, n-1)
	}
	check(t, lines(t, l, Options{}), 0, n-1)
	check(t, lines(t, l, Options{Lines: n + 1}), 0, n-1)
}

func TestFollowerGetsEveryLineOnce(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	l := filled(t, s, dir, 50_000)
	const more = 100_000
	w := attach(t, l)
	go func() {
		for i := range more {
			fmt.Fprintf(w, "%06d\n", 50_000+i)
		}
		w.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var got []string
	err := l.Read(ctx, Options{Lines: 40_000, Follow: true}, func(lines []Line) error {
		for _, line := range lines {
			got = append(got, line.String())
		}
		if len(got) >= 40_000+more {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	check(t, got[:20], 10_000, 10_019)
	if len(got) < 40_000+more {
		t.Fatalf("%d lines", len(got))
	}
	tail := got[len(got)-more:]
	check(t, tail, 50_000, 50_000+more-1)
}

func TestSlowFollowerIsToldWhatItMissed(t *testing.T) {
	s := store(t, filepath.Join(t.TempDir(), "absent")) // memory only
	l := s.Log("a")
	w := attach(t, l)
	put(t, w, "000000\n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first, seen, marks := make(chan struct{}), 0, 0
	written := make(chan struct{})
	go func() {
		<-first
		for i := range 100_000 { // 3.2 MB of records
			fmt.Fprintf(w, "%06d\n", i+1)
		}
		w.Close()
		close(written)
	}()
	err := l.Read(ctx, Options{Follow: true}, func(lines []Line) error {
		if seen == 0 {
			close(first)
			<-written
		}
		for _, line := range lines {
			seen++
			if line.Kind == Mark {
				marks++
			}
			if line.String() == "100000" {
				cancel()
			}
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || marks == 0 || seen < 1000 || seen > 90_000 {
		t.Errorf("%v: %d lines, %d marks", err, seen, marks)
	}
}

func TestSinceLeavesOlderLinesOut(t *testing.T) {
	s := store(t, t.TempDir())
	l := s.Log("a")
	w := attach(t, l)
	put(t, w, "old\n")
	eventually(t, "old line", func() bool { return len(l.Tail(1)) == 1 })
	<-time.After(5 * time.Millisecond)
	since := time.Now().Truncate(time.Millisecond)
	put(t, w, "new\n")
	eventually(t, "new line", func() bool { return len(l.Tail(2)) == 2 })
	if got := strings.Join(lines(t, l, Options{Since: since}), "|"); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestEarlierBootIsReadable(t *testing.T) {
	dir := t.TempDir()
	if got := lines(t, store(t, dir).Log("a"), Options{Previous: true}); got != nil {
		t.Errorf("there was no earlier boot: %q", got)
	}
	s := New(dir, func(text string) { t.Error(text) })
	filled(t, s, dir, 60_000)
	stop(t, s)
	s = store(t, dir)
	s.Log("b") // a boot in which it printed nothing
	put(t, attach(t, s.Log("b")), "x\n")
	l := s.Log("a")
	check(t, lines(t, l, Options{Previous: true}), 0, 59_999)
	put(t, attach(t, l), "now\n")
	eventually(t, "file of this boot", func() bool { _, ok := l.newest(); return ok })
	check(t, lines(t, l, Options{Previous: true}), 0, 59_999)
	check(t, lines(t, l, Options{Previous: true, Lines: 40_000, Follow: true}), 20_000, 59_999)
	if got := strings.Join(lines(t, l, Options{}), "|"); got != "now" {
		t.Errorf("this boot has %q", got)
	}
}

func TestDamagedFileIsReadAsFarAsItGoes(t *testing.T) {
	dir := t.TempDir()
	record := string(appendRecord(nil, stamp(time.Now()), Whole, []byte("good"), nil))
	for name, damage := range map[string]string{
		"torn":    record + record[:10],
		"zeros":   record + strings.Repeat("\x00", 100_000),
		"garbage": "no record\n\n" + record + "2026",
		"empty":   "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".1.1.log"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := store(t, dir)
	for name, want := range map[string]int{"torn": 2, "zeros": 8, "garbage": 4, "empty": 0} {
		got := lines(t, s.Log(name), Options{Previous: true})
		if len(got) < min(want, 2) || len(got) > want+8 || name != "empty" && !strings.Contains(strings.Join(got, "|"), "good") {
			t.Errorf("%s: %d lines %.100q", name, len(got), got)
		}
		lines(t, s.Log(name), Options{Previous: true, Lines: 3})
	}
}

func TestRemovedFileIsSaidToBeLost(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	l := filled(t, s, dir, 100_000)
	if err := os.Remove(s.path("a", l.parts[1])); err != nil {
		t.Fatal(err)
	}
	got := lines(t, l, Options{})
	marks := 0
	for _, line := range got {
		if strings.HasPrefix(line, "[") {
			marks++
		}
	}
	if marks != 1 || got[0] != "000000" || got[len(got)-1] != "099999" {
		t.Errorf("%d lines, %d marks, from %q to %q", len(got), marks, got[0], got[len(got)-1])
	}
}
