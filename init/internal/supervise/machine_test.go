package supervise

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/init/spec"
)

// TestDialogues plays the scripts of testdata: a line "service k=v …" makes a
// service, a line "time event [detail] => actions: state [reason]" is an event
// and what must follow from it.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m *Machine
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if settings, ok := strings.CutPrefix(line, "service"); ok {
			m = machine(t, strings.Fields(settings))
			continue
		}
		said, want, ok := strings.Cut(line, " => ")
		if !ok {
			t.Fatalf("%s:%d: no => in %q", file, n, line)
		}
		if got := step(t, m, strings.Fields(said)); got != strings.TrimSpace(want) {
			t.Errorf("%s:%d: %s\n got %s\nwant %s", file, n, strings.TrimSpace(said), got, want)
		}
	}
}

func machine(t *testing.T, settings []string) *Machine {
	annotations := ""
	for _, kv := range settings {
		k, v, _ := strings.Cut(kv, "=")
		annotations += fmt.Sprintf(`,"holdfast.%s":%q`, k, v)
	}
	svc, err := spec.Parse("x", []byte(`{"process":{"args":["/x"]},"annotations":{`+strings.TrimPrefix(annotations, ",")+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	return &Machine{Service: svc, State: Waiting}
}

func step(t *testing.T, m *Machine, words []string) string {
	now, err := time.ParseDuration(words[0])
	if err != nil {
		t.Fatal(err)
	}
	var actions []Action
	if words[1] == "spawned" {
		actions = m.Spawned(now)
	} else {
		actions = m.Step(now, Event(words[1]), strings.Join(words[2:], " "))
	}
	var out []string
	for _, a := range actions {
		if a.Do == Arm {
			out = append(out, fmt.Sprintf("arm %s", a.After))
			continue
		}
		out = append(out, string(a.Do))
	}
	if len(out) == 0 {
		out = []string{"nothing"}
	}
	state := string(m.State)
	if m.Reason != "" {
		state += " (" + m.Reason + ")"
	}
	return strings.Join(out, ", ") + ": " + state
}
