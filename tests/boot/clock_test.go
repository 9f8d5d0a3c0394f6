package boot

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/init/floor"
	"holdfast/init/status"
	"holdfast/tests/probe"
	"holdfast/tests/probe/pod"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// clockless starts a machine whose own clock is wrong, with the probe.
func clockless(t *testing.T, cfg qemu.Config, clock string) (*qemu.VM, status.Report, probe.Client) {
	t.Helper()
	cfg.Args = append(cfg.Args, "-rtc", "base="+clock)
	pod.Install(t, &cfg, "time: {servers: [127.0.0.1]}\n")
	vm := qemu.StartT(t, cfg)
	report := release.Up(t, vm)
	if !fault("raise clock: the clock said " + clock[:10])(report) {
		t.Errorf("no fault tells of the clock: %+v", report.Faults)
	}
	ctx, cancel := context.WithTimeout(t.Context(), release.BootLimit)
	defer cancel()
	c := pod.Client(vm)
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return vm, report, c
}

// started is the time at which the node's kernel started, by the node's clock.
func started(t *testing.T, c probe.Client) time.Time {
	t.Helper()
	stat, err := c.Text(t.Context(), "/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^btime (\d+)$`).FindStringSubmatch(stat)
	if m == nil {
		t.Fatalf("no btime in %s", stat)
	}
	sec, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(sec, 0)
}

// TestClock: a node's clock never starts before the build, nor decades after
// it, and once it was synchronised, not before that.
func TestClock(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	built, err := time.Parse(time.RFC3339, rel.Built)
	if err != nil {
		t.Fatal(err)
	}
	cfg := rel.Machine(t)
	cfg.CopyDisk = true
	vm, report, c := clockless(t, cfg, "2000-01-01T00:00:00")
	near(t, started(t, c), built)
	timedIsConfined(t, report, c)

	const ahead = 100*24*time.Hour + 12*time.Hour
	if err := c.TellTime(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	release.Await(t, vm, func(r status.Report) bool { return service(r, "timed").Status == "synchronised to 127.0.0.1" })
	near(t, started(t, c), built.Add(ahead))
	if st, err := c.Stat(t.Context(), floor.LastFile); err != nil || st.UID != floor.User {
		t.Errorf("%+v, %v, want a file of timed", st, err)
	}
	release.PowerOff(t, vm)
	checkState(t, vm.Disk())

	cfg = rel.Machine(t)
	cfg.Disk, cfg.DiskSize, cfg.InPlace = vm.Disk(), 0, true
	vm, report, c = clockless(t, cfg, "2090-01-01T00:00:00")
	if !fault("recall time: the clock said " + rel.Built[:10])(report) {
		t.Errorf("no fault tells of the last known time: %+v", report.Faults)
	}
	near(t, started(t, c), built.Add(ahead))
	release.PowerOff(t, vm)
}

// near: the kernel starts some seconds before the clock is set, and a machine
// has been running for some minutes when it remembers the time.
func near(t *testing.T, got, want time.Time) {
	t.Helper()
	if off := got.Sub(want); off < -time.Minute || off > 15*time.Minute {
		t.Errorf("the node's kernel started at %s by its clock, want about %s", got.UTC(), want)
	}
}

// timedIsConfined: it runs as its own user and can set the clock, no more.
func timedIsConfined(t *testing.T, report status.Report, c probe.Client) {
	t.Helper()
	s := service(report, "timed")
	if s.Restarts > 0 || s.Status != "not synchronised: no server answers: 127.0.0.1: connection refused" {
		t.Errorf("%+v", s)
	}
	process, err := c.Text(t.Context(), fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Uid:\t100\t100\t100\t100", "Gid:\t100\t100\t100\t100", "NoNewPrivs:\t1", "Seccomp:\t2",
		"CapPrm:\t0000000002000000", "CapEff:\t0000000002000000", "CapBnd:\t0000000002000000",
	} {
		if !strings.Contains(process, want) {
			t.Errorf("no %q in\n%s", want, process)
		}
	}
	t.Log(regexp.MustCompile(`VmRSS.*|RssAnon.*|.*ctxt_switches.*`).FindAllString(process, -1))
}
