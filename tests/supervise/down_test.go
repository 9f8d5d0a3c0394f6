package supervise

import (
	"regexp"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/control"
	"holdfast/tests/bed"
	"holdfast/tests/qemu"
)

// short makes the watchdog judge within a test's patience; a boot step may
// take seconds on the machines that run tests.
const short = "holdfast.watchdog=20s"

// TestFrozenInitIsReset stops PID 1, main loop and all: the watchdog device
// resets the machine. Where there is none, the kernel's own watchdog does.
func TestFrozenInitIsReset(t *testing.T) {
	for _, device := range []bool{true, false} {
		t.Run(map[bool]string{true: "i6300esb", false: "softdog"}[device], func(t *testing.T) {
			t.Parallel()
			b := bed.Start(t, bed.Config{Cmdline: short, Machine: qemu.Config{Watchdog: device}})
			b.Up()
			b.Send("/sys/fs/cgroup/init/cgroup.freeze", "1")
			b.Ended(qemu.GuestReset)
			if b.Bitten() != device {
				t.Errorf("the watchdog device has fired: %t, want %t", b.Bitten(), device)
			}
			said(t, b, `shutdown|boot:`, false)
		})
	}
}

// TestWedgedCriticalServiceIsReset has a critical service that is beyond help:
// PID 1 leaves the machine to the watchdog.
func TestWedgedCriticalServiceIsReset(t *testing.T) {
	t.Parallel()
	b := bed.Start(t, bed.Config{
		Cmdline: short, Machine: qemu.Config{Watchdog: true},
		Services: map[string]*specs.Spec{
			"wedged": bed.Service(bed.Set{"critical": "true", "restart-limit": "2/1m", "backoff": "10ms"}, "exit", "3"),
		},
	})
	b.AwaitService("wedged", bed.In("failed"))
	b.Ended(qemu.GuestReset)
	if !b.Bitten() {
		t.Error("the watchdog has not fired")
	}
	said(t, b, `wedged +critical and failed: the watchdog will restart the machine`, true)
}

// said checks whether the console has a line.
func said(t *testing.T, b *bed.Bed, line string, want bool) {
	t.Helper()
	re := regexp.MustCompile(line)
	for _, l := range b.ConsoleLines() {
		if re.MatchString(l.Text) {
			if !want {
				t.Errorf("the console says %q", l.Text)
			}
			return
		}
	}
	if want {
		t.Errorf("the console has no line like %q", line)
	}
}

// obstacles are what a shutdown has to get over.
var obstacles = map[string]map[string]*specs.Spec{
	"nothing":     nil,
	"deaf":        {"deaf": bed.Service(bed.Set{"type": "notify", "timeout-stop": "3s"}, "deaf")},
	"stuck":       {"stuck": bed.Service(bed.Set{"type": "notify", "timeout-stop": "3s"}, "stuck")},
	"unreachable": {"stuck": bed.Service(bed.Set{"type": "notify", "timeout-stop": "3s"}, "stuck", "detached")},
	"all": {
		"deaf":  bed.Service(bed.Set{"type": "notify", "timeout-stop": "2m"}, "deaf"),
		"spin":  bed.Service(bed.Set{"type": "notify", "timeout-stop": "3s"}, "spin"),
		"stuck": bed.Service(bed.Set{"type": "notify", "timeout-stop": "2m"}, "stuck"),
		"bomb":  bed.Limited(bed.Service(bed.Set{"type": "notify"}, "bomb"), 0, 30),
		"flood": bed.Service(bed.Set{"type": "notify"}, "flood"),
	},
}

// ways are how a machine is asked to go down, and how it must end.
var ways = map[string]struct {
	ask    func(*testing.T, *bed.Bed)
	reason string
}{
	"SIGTERM":           {func(_ *testing.T, b *bed.Bed) { b.Kill(1, syscall.SIGTERM) }, qemu.GuestShutdown},
	"ctrl-alt-del":      {func(_ *testing.T, b *bed.Bed) { b.Kill(1, syscall.SIGINT) }, qemu.GuestReset}, // what it becomes
	"control reboot":    {func(_ *testing.T, b *bed.Bed) { b.End(control.CallReboot) }, qemu.GuestReset},
	"control power-off": {func(_ *testing.T, b *bed.Bed) { b.End(control.CallPowerOff) }, qemu.GuestShutdown},
	"power button": {func(t *testing.T, b *bed.Bed) {
		if err := b.PowerButton(t.Context()); err != nil {
			t.Fatal(err)
		}
	}, qemu.GuestShutdown},
}

// TestShutdown takes machines down over obstacles. The watchdog stays armed
// meanwhile and is the judge of the deadline: had it fired, the machine would
// have ended by it.
func TestShutdown(t *testing.T) {
	for _, c := range []struct{ way, obstacle string }{
		{"ctrl-alt-del", "nothing"}, {"power button", "deaf"}, {"SIGTERM", "stuck"}, {"control reboot", "unreachable"}, {"power button", "all"},
	} {
		t.Run(c.way+" "+c.obstacle, func(t *testing.T) {
			t.Parallel()
			b := bed.Start(t, bed.Config{
				Cmdline: "holdfast.watchdog=30s", Services: obstacles[c.obstacle], Machine: qemu.Config{Watchdog: true},
			})
			var names []string
			for name := range obstacles[c.obstacle] {
				names = append(names, name)
			}
			b.Up(names...)
			ways[c.way].ask(t, b)
			b.Ended(ways[c.way].reason)
			if b.Bitten() {
				t.Error("the watchdog has fired")
			}
			b.State().Clean()
		})
	}
}

// TestSecondRequestIsImmediate asks twice: a service that would be waited for
// is not.
func TestSecondRequestIsImmediate(t *testing.T) {
	t.Parallel()
	b := bed.Start(t, bed.Config{Services: map[string]*specs.Spec{
		"deaf": bed.Service(bed.Set{"type": "notify", "timeout-stop": "10m"}, "deaf"),
	}, Cmdline: "holdfast.watchdog=10m"})
	b.Up("deaf")
	b.Kill(1, syscall.SIGTERM)
	b.AwaitService("driver", bed.In("stopped"))
	if err := b.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Ended(qemu.GuestShutdown)
	said(t, b, `second request: not waiting`, true)
	b.State().Clean()
}
