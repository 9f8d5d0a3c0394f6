package supervise

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/status"
	"holdfast/tests/bed"
	"holdfast/tests/soak"
)

// TestOrphanStorm makes thousands of orphans while services die and run
// short-lived programs: PID 1 reaps all of them and loses no status.
func TestOrphanStorm(t *testing.T) {
	t.Parallel()
	const storms = 2
	each := strconv.Itoa(soak.Count(2000, 10000) / storms)
	services := map[string]*specs.Spec{
		"helpers": bed.Service(bed.Set{"type": "notify"}, "helpers"),
		"seven":   bed.Service(bed.Set{"restart-limit": "1000/1ms", "backoff": "20ms"}, "exit", "7"),
	}
	for n := range storms {
		services[fmt.Sprint("storm-", n)] = bed.Service(bed.Set{
			"type": "oneshot", "restart": "never", "timeout-start": "5m", "requires": "helpers",
		}, "orphans", each)
	}
	b := bed.Start(t, bed.Config{Services: services})
	before := bed.Find(b.Up("helpers"), "helpers")
	for n := range storms {
		b.AwaitService(fmt.Sprint("storm-", n), bed.In("done"))
	}
	// A status that went to nobody leaves its service ready for ever.
	died := bed.Find(b.Await(func(status.Report) bool { return true }), "seven").Restarts
	b.AwaitService("seven", func(s status.Service) bool { return s.Restarts >= died+10 })
	noZombies(t, b)
	after := bed.Find(b.Await(func(status.Report) bool { return true }), "helpers")
	if after.PID != before.PID || after.Restarts != 0 {
		t.Errorf("the service with helpers was disturbed: %+v, then %+v", before, after)
	}
	for _, line := range b.ConsoleLines() {
		if strings.Contains(line.Text, "backoff:") && !strings.Contains(line.Text, "exited with status 7") {
			t.Errorf("a wrong status: %s", line.Text)
		}
	}
	b.PowerOff()
	state := b.State()
	state.Clean()
	if !ran(state.Journal(), "helpers") {
		t.Error("the service with helpers did not end in order")
	}
}

// ran tells whether the service with helpers ended in order after some helpers.
func ran(journal []bed.Event, name string) bool {
	for _, e := range journal {
		var n int
		if _, err := fmt.Sscanf(e.What, "ran-%d-helpers", &n); err == nil && e.Name == name && n > 0 {
			return true
		}
	}
	return false
}

// noZombies waits until PID 1 has no dead child. One that has just died is
// there for a moment; one that nobody reaps stays.
func noZombies(t *testing.T, b *bed.Bed) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var zombies []string
	for deadline := time.Now().Add(bed.Limit); time.Now().Before(deadline); <-tick.C {
		zombies = zombies[:0]
		for _, p := range b.Processes() {
			if p.State == "Z" && p.PPID == 1 {
				zombies = append(zombies, fmt.Sprint(p.PID))
			}
		}
		if len(zombies) == 0 {
			return
		}
	}
	t.Errorf("PID 1 does not reap %d children: %s", len(zombies), strings.Join(zombies, " "))
}
