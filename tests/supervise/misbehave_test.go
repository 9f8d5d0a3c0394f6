package supervise

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/status"
	"holdfast/tests/bed"
)

// misbehaved are services that behave badly, and how each must end up.
var misbehaved = []struct {
	name    string
	service *specs.Spec
	state   string
	reason  string // regular expression
}{
	{"mute", bed.Service(bed.Set{"type": "notify", "restart": "never", "timeout-start": "3s"}, "mute"),
		"failed", `^not ready within 3s`},
	{"hang", bed.Service(bed.Set{"type": "notify", "restart": "never", "watchdog": "3s"}, "hang"),
		"failed", `^watchdog: silent for 3s`},
	{"hup", bed.Service(bed.Set{"restart": "never"}, "signal", "SIGHUP"),
		"failed", `^killed by SIGHUP`},
	{"kill", bed.Service(bed.Set{"restart": "never"}, "signal", "SIGKILL"),
		"failed", `^killed by SIGKILL`},
	{"status", bed.Service(bed.Set{"restart": "on-failure", "restart-limit": "3/1m", "backoff": "50ms"}, "exit", "9"),
		"failed", `^exited with status 9; more than 3 restarts within 1m0s`},
	{"leak", bed.Limited(bed.Service(bed.Set{"type": "notify", "restart": "never"}, "leak"), 32<<20, 0),
		"failed", `^out of memory: killed by SIGKILL`},
	{"missing", &specs.Spec{Version: specs.Version, Process: &specs.Process{Args: []string{"/usr/bin/nothing"}, Cwd: "/"},
		Annotations: map[string]string{"holdfast.restart": "never"}},
		"failed", `execute /usr/bin/nothing: no such file`},
	{"away", bed.Service(bed.Set{"restart": "on-failure"}, "away"),
		"stopped", `^exited with status 0`},
	{"short", bed.Service(bed.Set{"type": "oneshot"}, "short"),
		"done", ``},
	{"victim", bed.Service(bed.Set{"type": "notify", "restart": "never", "timeout-start": "6s"}, "mute"),
		"failed", `^not ready within 6s`},
	{"impostor", bed.Service(bed.Set{}, "impostor", "victim"),
		"ready", ``},
	{"barrier", bed.Service(bed.Set{"type": "notify"}, "barrier"),
		"ready", ``},
	{"deaf", bed.Service(bed.Set{"type": "notify", "timeout-stop": "2s"}, "deaf"),
		"ready", ``},
	{"flood", bed.Service(bed.Set{"type": "notify"}, "flood"),
		"ready", ``},
	{"bomb", bed.Limited(bed.Service(bed.Set{"type": "notify"}, "bomb"), 0, 50),
		"ready", ``},
}

// witnesses run beside the others and must not notice them. One that is
// starved for long dies by its watchdog.
var witnesses = map[string]*specs.Spec{
	"witness-notify": bed.Service(bed.Set{"type": "notify", "watchdog": "20s"}, "serve"),
	"witness-simple": bed.Service(bed.Set{}, "serve"),
	"witness-helper": bed.Service(bed.Set{"type": "notify"}, "helpers"),
}

func witnessNames() (names []string) {
	for name := range witnesses {
		names = append(names, name)
	}
	return names
}

// TestBadServicesBesideGoodOnes lets every bad service run at once.
func TestBadServicesBesideGoodOnes(t *testing.T) {
	t.Parallel()
	services := map[string]*specs.Spec{}
	for name, s := range witnesses {
		services[name] = s
	}
	for _, m := range misbehaved {
		services[m.name] = m.service
	}
	b := bed.Start(t, bed.Config{Services: services})
	first := b.Up(witnessNames()...)
	settled := b.Await(func(r status.Report) bool {
		for _, m := range misbehaved {
			if bed.Find(r, m.name).State != m.state {
				return false
			}
		}
		return true
	})
	for _, m := range misbehaved {
		s := bed.Find(settled, m.name)
		if !regexp.MustCompile(m.reason).MatchString(s.Reason) || m.reason == "" && s.Reason != "" {
			t.Errorf("%s is %s because %q, want a reason like %q", m.name, s.State, s.Reason, m.reason)
		}
	}
	checkLeftovers(t, b, settled)
	checkImpostor(t, b, settled)
	checkBomb(t, b, settled)
	checkFlood(t, b)
	noZombies(t, b)
	undisturbed(t, first, b.Up(witnessNames()...))
	b.PowerOff()
	if !slices.ContainsFunc(b.ConsoleLines(), func(l qemuLine) bool {
		return strings.Contains(l.Text, "deaf") && strings.Contains(l.Text, "killed: did not stop within 2s")
	}) {
		t.Error("nobody says that the deaf service had to be killed")
	}
	state := b.State()
	state.Clean()
	checkDescent(t, state.Journal())
}

// undisturbed wants the witnesses as they were.
func undisturbed(t *testing.T, before, after status.Report) {
	t.Helper()
	for _, name := range witnessNames() {
		b, a := bed.Find(before, name), bed.Find(after, name)
		if a.PID != b.PID || a.Restarts != 0 || a.PID == 0 {
			t.Errorf("%s was disturbed: %+v, then %+v", name, b, a)
		}
	}
}

// checkLeftovers wants nothing left of a service that does not run.
func checkLeftovers(t *testing.T, b *bed.Bed, r status.Report) {
	t.Helper()
	for _, s := range r.Services {
		if s.State != "failed" && s.State != "stopped" && s.State != "done" {
			continue
		}
		if left := b.Within(s.Name); len(left) > 0 {
			t.Errorf("%s is %s, but runs on: %+v", s.Name, s.State, left)
		}
	}
}

func checkImpostor(t *testing.T, b *bed.Bed, r status.Report) {
	t.Helper()
	if s := bed.Find(r, "victim").Status; s != "" {
		t.Errorf("the victim's status is %q", s)
	}
	ctx := t.Context()
	want := regexp.MustCompile(`victim +ignored a notification from process`)
	if _, err := b.WaitConsole(ctx, want); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(b.Journal(), func(e bed.Event) bool { return e.Name == "barrier" && e.What == "passed" }) {
		t.Error("the barrier was not passed")
	}
}

// checkBomb wants the bomb at its limit, and all of it gone when its main
// process dies.
func checkBomb(t *testing.T, b *bed.Bed, r status.Report) {
	t.Helper()
	old := bed.Find(r, "bomb").PID
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(bed.Limit)
	for counter(b.Read("/sys/fs/cgroup/system/bomb/pids.events"), "max") == 0 {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatal("the bomb never came to its limit")
		}
	}
	var before []int
	for _, p := range b.Within("bomb") {
		before = append(before, p.PID)
	}
	if len(before) < 10 || len(before) > 50 {
		t.Errorf("the bomb has %d processes, want up to 50", len(before))
	}
	b.Kill(old, syscall.SIGKILL)
	b.AwaitService("bomb", func(s status.Service) bool { return s.State == "ready" && s.PID != old && s.Restarts == 1 })
	for _, p := range b.Within("bomb") {
		if slices.Contains(before, p.PID) {
			t.Errorf("process %d of the bomb has survived its main process", p.PID)
		}
	}
}

// counter reads a flat keyed file.
func counter(text, key string) (n int64) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// floodMost is what PID 1 may hold while a service prints at full speed.
const floodMost = 32 << 10

func checkFlood(t *testing.T, b *bed.Bed) {
	t.Helper()
	if u := b.Usage(1); u.RSSKiB > floodMost {
		t.Errorf("PID 1 holds %d KiB beside a flood, want at most %d", u.RSSKiB, floodMost)
	}
}

// checkDescent wants the good services to have ended in order.
func checkDescent(t *testing.T, journal []bed.Event) {
	t.Helper()
	ended := map[string]bool{}
	for _, e := range journal {
		if e.What == "end" || strings.HasPrefix(e.What, "ran-") {
			ended[e.Name] = true
		}
	}
	for name := range witnesses {
		if !ended[name] {
			t.Errorf("%s did not end in order", name)
		}
	}
}
