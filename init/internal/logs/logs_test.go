package logs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case <-tick.C:
			if ok() {
				return
			}
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func TestLogReachesRingAndFile(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, "a")
	l.Attach(io.NopCloser(strings.NewReader("one\ntwo\nthree\n")))
	eventually(t, "file", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "a.log"))
		return err == nil && string(b) == "one\ntwo\nthree\n"
	})
	if got := strings.Join(l.Tail(2), "|"); got != "two|three" {
		t.Errorf("tail is %q", got)
	}
}

func TestFloodIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, "a")
	line := []byte(strings.Repeat("x", 99) + "\n")
	flood := bytes.Repeat(line, 1000)
	for range 200 { // 20 MB
		l.add(bytes.Clone(flood))
	}
	l.add([]byte("end\n"))
	eventually(t, "queue drained", func() bool { return len(l.queue) == 0 })
	if len(l.ring) > ringBytes {
		t.Errorf("ring holds %d bytes, at most %d", len(l.ring), ringBytes)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) > 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err != nil || st.Size() > fileBytes+int64(len(flood)) {
			t.Errorf("%s: %d bytes, %v", f, st.Size(), err)
		}
	}
	if l.Tail(1)[0] != "end" {
		t.Errorf("newest line is %q", l.Tail(1)[0])
	}
}

func TestDropsAreCountedWhereTheDiskIsGone(t *testing.T) {
	l := New(filepath.Join(t.TempDir(), "absent"), "a")
	l.add([]byte("12345"))
	eventually(t, "drop counted", func() bool { return l.Dropped() == 5 })
}

func TestCloseWritesTheRest(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, "a")
	for range 10 {
		l.add([]byte("line\n"))
	}
	if err := l.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.add([]byte("late\n"))
	if err := l.Close(time.Second); err != nil {
		t.Errorf("second close: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a.log")); err != nil || string(b) != strings.Repeat("line\n", 10) {
		t.Errorf("%q, %v", b, err)
	}
	if l.Tail(1)[0] != "late" {
		t.Error("late output is not in memory")
	}
}
