package supervise

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/tests/bed"
)

// TestOperator stops, starts and restarts services over the control socket.
func TestOperator(t *testing.T) {
	t.Parallel()
	notify := func(requires string) bed.Set { return bed.Set{"type": "notify", "requires": requires} }
	b := bed.Start(t, bed.Config{Services: map[string]*specs.Spec{
		"base":   bed.Service(notify(""), "serve"),
		"middle": bed.Service(notify("base"), "serve"),
		"top":    bed.Service(notify("middle"), "serve"),
		"aside":  bed.Service(notify(""), "serve"),
		"deaf":   bed.Service(bed.Set{"type": "notify", "timeout-stop": "2s"}, "deaf"),
		"flood":  bed.Service(bed.Set{"type": "notify"}, "flood"),
		"broken": bed.Service(bed.Set{"type": "notify", "restart": "never"}, "exit", "4"),
	}})
	before := b.Up("base", "middle", "top", "aside", "deaf", "flood")

	mark := len(b.Journal())
	b.Must(control.CallStop, "base")
	wantEvents(t, b.Journal()[mark:], "top term", "top end", "middle term", "middle end", "base term", "base end")
	b.Must(control.CallStart, "top")
	wantEvents(t, b.Journal()[mark+6:], "base start", "base ready", "middle start", "middle ready", "top start", "top ready")

	old := process(t, b, "top")
	mark = len(b.Journal())
	b.Must(control.CallRestart, "middle")
	wantEvents(t, b.Journal()[mark:], "middle term", "middle end", "middle start", "middle ready")
	if now := process(t, b, "top"); now != old {
		t.Errorf("what requires a restarted service was restarted, too: process %d, then %d", old, now)
	}

	b.Must(control.CallStop, "deaf")
	if s := b.AwaitService("deaf", bed.In("stopped")); !strings.HasPrefix(s.Reason, "killed: did not stop within 2s") {
		t.Errorf("the deaf service was stopped: %q", s.Reason)
	}
	if err := b.Control(control.CallStart, "broken", nil); err == nil || !strings.Contains(err.Error(), "exited with status 4") {
		t.Errorf("start of a service that fails: %v", err)
	}
	if err := b.Control(control.CallStop, "nothing", nil); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("stop of a service that does not exist: %v", err)
	}
	checkFloodLog(t, b)
	after := b.Up("aside", "flood")
	for _, name := range []string{"aside", "flood", "driver"} {
		if x, y := bed.Find(before, name), bed.Find(after, name); x.PID != y.PID || y.Restarts != 0 {
			t.Errorf("%s was disturbed: %+v, then %+v", name, x, y)
		}
	}
	b.End(control.CallPowerOff)
	b.Ended("guest-shutdown")
	b.State().Clean()
}

// process asks PID 1: a report may be older than the answer to the last call.
func process(t *testing.T, b *bed.Bed, name string) int {
	t.Helper()
	var s control.Service
	if err := b.Control(control.CallStatus, name, &s); err != nil {
		t.Fatal(err)
	}
	return s.PID
}

// wantEvents compares what services noted, in order.
func wantEvents(t *testing.T, journal []bed.Event, want ...string) {
	t.Helper()
	var got []string
	for _, e := range journal {
		got = append(got, e.Name+" "+e.What)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the services noted %q, want %q", got, want)
	}
}

// checkFloodLog wants that a flood is read, that what is lost of it is
// counted, and that the newest lines are there.
func checkFloodLog(t *testing.T, b *bed.Bed) {
	t.Helper()
	b.Await(func(r status.Report) bool { return bed.Find(r, "flood").State == "ready" })
	var s control.Service
	if err := b.Control(control.CallStatus, "flood", &s); err != nil {
		t.Fatal(err)
	}
	var text string
	if err := b.Control(control.CallLogs, "flood", &text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "the quick brown fox") {
		t.Errorf("the log of the flood: %.200q", text)
	}
	t.Logf("flood: %d bytes lost of its log", s.DroppedLogBytes)
}

// TestEvents follows a service through a restart.
func TestEvents(t *testing.T) {
	t.Parallel()
	b := bed.Start(t, bed.Config{Services: map[string]*specs.Spec{"one": bed.Service(bed.Set{"type": "notify"}, "serve")}})
	pid := bed.Find(b.Up("one"), "one").PID
	events := b.Events(control.CallRestart, "one", "ready")
	var states []string
	for _, e := range events {
		if e.Service == "one" {
			states = append(states, string(e.Kind)+" "+e.State)
		}
	}
	if len(states) < 4 || states[0] != "now ready" || states[len(states)-1] != "state ready" || !slices.Contains(states, "state stopping") {
		t.Errorf("events of a restart: %q", states)
	}
	if last := events[len(events)-1]; last.PID == pid || last.PID == 0 {
		t.Errorf("the last event is of process %d, the old one was %d", last.PID, pid)
	}
	b.PowerOff()
}
