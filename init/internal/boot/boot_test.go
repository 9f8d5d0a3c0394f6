package boot

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/init/internal/report"
	"holdfast/kernel/cmdline"
	"holdfast/kernel/dm"
)

// silent gives a node whose console is not the test's.
func silent(t *testing.T) *Node {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	n := &Node{Report: report.New(1)}
	os.Stdout = stdout
	go func() { _, _ = io.Copy(io.Discard, r) }()
	t.Cleanup(func() { w.Close(); r.Close() })
	return n
}

func TestRunStopsAtTheFirstFailure(t *testing.T) {
	bad := errors.New("bad")
	var ran []string
	step := func(name string, survive bool, err error) Step {
		return Step{name, survive, func(*Node) (string, error) { ran = append(ran, name); return "", err }}
	}
	err := silent(t).Run([]Step{step("a", false, nil), step("b", true, bad), step("c", false, bad), step("d", false, nil)})
	var se *Error
	if !errors.As(err, &se) || se.Step != "c" || !errors.Is(err, bad) {
		t.Errorf("got %v, want the failure of step c", err)
	}
	if got := strings.Join(ran, ""); got != "abc" {
		t.Errorf("ran %s, want abc", got)
	}
}

func TestStepsAreNamedOnce(t *testing.T) {
	for i, steps := range [][]Step{Stage1, slices.Concat(Stage2, Stage2State)} {
		seen := map[string]bool{}
		for _, s := range steps {
			if s.Name == "" || s.Do == nil || seen[s.Name] || len(s.Name) > 18 {
				t.Errorf("stage %d, step %q: want a name of its own, of at most 18 characters", i+1, s.Name)
			}
			seen[s.Name] = true
		}
	}
}

func TestTableRootHash(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	good := dm.Target{Type: "verity", Params: "1 254:2 254:3 4096 4096 100 1 sha256 " + hash + " 00 1 panic_on_corruption"}
	if got, err := tableRootHash([]dm.Target{good}); err != nil || got != hash {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range [][]dm.Target{nil, {good, good}, {{Type: "linear", Params: good.Params}}, {{Type: "verity", Params: "1 2 3"}}} {
		if _, err := tableRootHash(bad); err == nil {
			t.Errorf("%v was taken for a verity table", bad)
		}
	}
}

func TestWriteSynced(t *testing.T) {
	path := t.TempDir() + "/id"
	for _, text := range []string{"one", "two"} {
		if err := writeSynced(path, text); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := writeSynced(t.TempDir()+"/no/id", "x"); err == nil {
		t.Error("a file in a directory that does not exist was written")
	}
}

func TestSysctlNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sysctls {
		if seen[s.Name] || s.Value == "" {
			t.Errorf("%s is there twice, or has no value", s.Name)
		}
		seen[s.Name] = true
	}
}

func TestWatchdogTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"quiet":                     60 * time.Second,
		"holdfast.watchdog=10s":     10 * time.Second,
		"holdfast.watchdog=2m":      2 * time.Minute,
		"holdfast.watchdog=10":      60 * time.Second,
		"holdfast.watchdog=0s":      60 * time.Second,
		"holdfast.watchdog=100h":    60 * time.Second,
		"holdfast.watchdog":         60 * time.Second,
		"holdfast.watchdog=forever": 60 * time.Second,
	} {
		line, err := cmdline.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := watchdogTime(line); got != want {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
}
