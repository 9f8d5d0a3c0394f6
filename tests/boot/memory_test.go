package boot

import (
	"context"
	"regexp"
	"testing"
	"time"

	"holdfast/tests/probe"
	"holdfast/tests/release"
)

// TestGreedyPodDiesAlone has a pod take all the memory of the node. It is what
// dies: PID 1, the services and the other pod run on.
func TestGreedyPodDiesAlone(t *testing.T) {
	t.Parallel()
	vm, c, ctx := inside(t, release.Open(t))
	get(t, vm, "/")
	before, report := pods(ctx, t, c), release.Up(t, vm)
	own, err := probePID(ctx, c)
	if err != nil || own == 0 {
		t.Fatalf("process %d is the probe's, %v", own, err)
	}
	if err := c.Eat(ctx); err != nil {
		t.Fatal(err)
	}
	awaitReplaced(ctx, t, c, own)
	vmstat, err := c.Text(ctx, "/proc/vmstat")
	if err != nil || !regexp.MustCompile(`(?m)^oom_kill [1-9]`).MatchString(vmstat) {
		t.Errorf("the OOM killer was not there: %v", err)
	}
	after, now := pods(ctx, t, c), release.Up(t, vm)
	for pid, start := range before {
		if pid != own && after[pid] != start {
			t.Errorf("process %d of a pod is gone", pid)
		}
	}
	if now.BootID != report.BootID {
		t.Error("the node was restarted")
	}
	for _, s := range report.Services {
		if a := service(now, s.Name); a.PID != s.PID || a.Restarts != s.Restarts {
			t.Errorf("service %s: %+v, then %+v", s.Name, s, a)
		}
	}
	get(t, vm, "/")
	release.PowerOff(t, vm)
	checkState(t, vm.Disk())
}

// probePID finds the probe's program.
func probePID(ctx context.Context, c probe.Client) (int, error) {
	processes, err := c.Processes(ctx)
	for _, p := range processes {
		if p.Comm == "probe" {
			return p.PID, err
		}
	}
	return 0, err
}

// awaitReplaced waits until the probe answers as another process.
func awaitReplaced(ctx context.Context, t *testing.T, c probe.Client, old int) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		pid, err := probePID(attempt, c)
		cancel()
		if err == nil && pid != 0 && pid != old {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the greedy pod is not replaced: process %d, %v", pid, err)
		}
	}
}
