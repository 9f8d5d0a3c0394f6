package supervise

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/init/spec"
)

var update = flag.Bool("update", false, "write what follows from the dialogues' events into them")

// pair is an event in a state.
type pair struct {
	State
	Event
}

// TestDialogues plays the scripts of testdata: a line "service k=v …" makes a
// service, a line "time event [detail] => actions: state [reason]" is an event
// and what must follow from it. Together they cover every event that can
// happen in every state.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	seen := map[pair]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { play(t, file, seen) })
	}
	for state, events := range handlers {
		for event := range events {
			if !seen[pair{state, event}] {
				t.Errorf("no dialogue has %q while %s", event, state)
			}
		}
	}
}

func play(t *testing.T, file string, seen map[pair]bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m *Machine
	var out strings.Builder
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\n")
		said, want, isEvent := strings.Cut(line, " => ")
		if settings, ok := strings.CutPrefix(line, "service"); ok {
			m = machine(t, strings.Fields(settings))
		}
		if !isEvent {
			fmt.Fprintln(&out, line)
			continue
		}
		got := step(t, m, strings.Fields(said), seen)
		fmt.Fprintf(&out, "%-22s => %s\n", strings.TrimSpace(said), got)
		if got != strings.TrimSpace(want) && !*update {
			t.Errorf("%s:%d: %s\n got %s\nwant %s", file, n, strings.TrimSpace(said), got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
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
	return &Machine{Service: svc, State: Waiting, Impossible: func(s State, e Event) {
		t.Fatalf("event %q while %s", e, s)
	}}
}

func step(t *testing.T, m *Machine, words []string, seen map[pair]bool) string {
	now, err := time.ParseDuration(words[0])
	if err != nil {
		t.Fatal(err)
	}
	event := Event(words[1])
	seen[pair{m.State, event}] = true
	var out []string
	for _, a := range m.Step(now, event, strings.Join(words[2:], " ")) {
		text := string(a.Do)
		if a.Do == Arm {
			text = fmt.Sprintf("arm %s", a.After)
		}
		out = append(out, text)
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

// TestImpossible: an event that can't happen is told of and changes nothing.
func TestImpossible(t *testing.T) {
	for _, s := range States {
		for _, e := range Events {
			if handlers[s][e] != nil {
				continue
			}
			m := machine(t, nil)
			m.State = s
			told := false
			m.Impossible = func(gotS State, gotE Event) { told = gotS == s && gotE == e }
			if actions := m.Step(0, e, ""); len(actions) > 0 || m.State != s || !told {
				t.Errorf("%q while %s: %v, then %s, told %v", e, s, actions, m.State, told)
			}
		}
	}
}

// TestSweepIsLast: Emptied may follow within the sweep, so nothing may come after it.
func TestSweepIsLast(t *testing.T) {
	for _, s := range States {
		for e := range handlers[s] {
			m := machine(t, nil)
			m.State = s
			actions := m.Step(0, e, "")
			for i, a := range actions {
				if last := i == len(actions)-1; !last && (a.Do == Sweep || a.Do == Spawn) {
					t.Errorf("%q while %s: %v", e, s, actions)
				}
			}
		}
	}
	if len(handlers) != len(States) {
		t.Errorf("%d states have handlers, want all %d", len(handlers), len(States))
	}
}
