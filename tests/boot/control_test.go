package boot

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// TestControlSocket calls PID 1 from a privileged pod, which is refused, and
// then from the same process outside of the pod's cgroup: whoever has that
// power is root on the node.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	vm, c, ctx := inside(t, release.Open(t))
	var role control.Role
	err := c.Control(ctx, control.CallHello, "", &role)
	if err == nil || !strings.Contains(err.Error(), "a pod may not use the control socket") {
		t.Fatalf("a pod has role %q: %v", role, err)
	}
	if err := c.Write(ctx, "/sys/fs/cgroup/cgroup.procs", "0"); err != nil {
		t.Fatal(err)
	}
	if err := c.Control(ctx, control.CallHello, "", &role); err != nil || role != control.Operator {
		t.Fatalf("root has role %q: %v", role, err)
	}
	var list []control.Service
	if err := c.Control(ctx, control.CallList, "", &list); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"containerd", "kubelet", "netd"} {
		i := slices.IndexFunc(list, func(s control.Service) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("%s is not in %+v", name, list)
		}
		s := list[i]
		if s.State != "ready" || s.PID == 0 || s.MemoryBytes == 0 || s.MemoryPeakBytes < s.MemoryBytes || s.CPUUsec == 0 || s.Type == "" || s.SinceMs == 0 {
			t.Errorf("%+v", s)
		}
		if s.DroppedLogBytes != 0 {
			t.Errorf("%s: %d bytes of its log were lost", name, s.DroppedLogBytes)
		}
	}
	before := service(release.Up(t, vm), "netd")
	if err := c.Control(ctx, control.CallRestart, "netd", nil); err != nil {
		t.Fatal(err)
	}
	release.Await(t, vm, func(r status.Report) bool {
		s := service(r, "netd")
		return s.State == "ready" && s.PID != before.PID && s.Restarts == before.Restarts
	})
	var text string
	stamped := regexp.MustCompile(`(?m)^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z .*containerd`)
	if err := c.Control(ctx, control.CallLogs, "containerd", &text); err != nil || !stamped.MatchString(text) {
		t.Errorf("log of containerd: %v, %.500q", err, text)
	}
	if err := c.Control(ctx, control.CallPowerOff, "", nil); err != nil {
		t.Fatal(err)
	}
	if exit, err := vm.Wait(ctx); err != nil || exit.Reason != qemu.GuestShutdown {
		t.Fatalf("ended by %q, %v, want %q", exit.Reason, err, qemu.GuestShutdown)
	}
	checkState(t, vm.Disk())
	checkLogFiles(t, vm.Disk(), text)
}

// checkLogFiles wants a file of each service's first boot on the state volume,
// and in containerd's what was read over the socket, to the last line before
// the machine went down.
func checkLogFiles(t *testing.T, disk, text string) {
	t.Helper()
	state := flatten(t, disk).extract(t, "state")
	cat := func(name string) string {
		out, err := exec.Command("debugfs", "-R", "cat /log/holdfast/"+name+".1.1.log", state).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, name := range []string{"containerd", "kubelet", "netd"} {
		if b := cat(name); !strings.HasSuffix(b, "\n") {
			t.Errorf("log of %s ends %.200q", name, b[max(0, len(b)-200):])
		}
	}
	if b := cat("containerd"); !strings.Contains(b, text) || len(b) <= strings.Index(b, text)+len(text) {
		t.Errorf("what was read is not in the file, or nothing came after it")
	}
}
