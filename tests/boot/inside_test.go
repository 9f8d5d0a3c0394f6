package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/status"
	"holdfast/tests/probe"
	"holdfast/tests/probe/pod"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
	"holdfast/tests/soak"
)

// inside boots a node with the probe, which is pulled through a registry
// mirror of the node's configuration.
func inside(t *testing.T, rel *release.Release) (*qemu.VM, probe.Client, context.Context) {
	t.Helper()
	cfg := rel.Machine(t)
	pod.Install(t, &cfg, "demo: true\n")
	vm := qemu.StartT(t, cfg)
	release.Up(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), 2*release.BootLimit*time.Duration(soak.Count(1, 10)))
	t.Cleanup(cancel)
	c := pod.Client(vm)
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return vm, c, ctx
}

// TestNodeFromInside checks the claims of the posture with the kernel itself,
// from a pod with every privilege that Kubernetes can give.
func TestNodeFromInside(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	vm, c, ctx := inside(t, rel)
	text := func(path string) string {
		s, err := c.Text(ctx, path)
		if err != nil {
			t.Errorf("read %s: %v", path, err)
		}
		return s
	}
	if s := text("/sys/kernel/security/lockdown"); !strings.Contains(s, "[integrity]") {
		t.Errorf("lockdown is %q", s)
	}
	if _, err := c.File(ctx, "/proc/modules"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/proc/modules: %v, want that it does not exist", err)
	}
	root := mountOf(t, text("/proc/1/mountinfo"), "/")
	if !strings.Contains(root, " - erofs /dev/mapper/root ro") {
		t.Errorf("/ is %q, want erofs on /dev/mapper/root, read-only", root)
	}
	if s := mountOf(t, text("/proc/1/mountinfo"), "/var"); !strings.Contains(s, "nosuid,nodev") || !strings.Contains(s, " - ext4 ") {
		t.Errorf("/var is %q, want ext4 with nosuid and nodev", s)
	}
	table, err := c.DMTable(ctx, "root")
	if err != nil || len(table) != 1 || table[0].Type != "verity" || !strings.Contains(table[0].Params, rel.RootHash) || !strings.Contains(table[0].Params, "panic_on_corruption") {
		t.Errorf("table of root: %+v, %v, want verity with root hash %s", table, err, rel.RootHash)
	}
	if err := c.Mount(ctx, "", "/", "", unix.MS_REMOUNT, ""); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EACCES) {
		t.Errorf("remount of / read-write: %v, want that it is refused", err)
	}
	for _, path := range []string{"/usr/bin/kubelet", "/etc/passwd"} {
		if err := c.Write(ctx, path, "x"); !errors.Is(err, syscall.EROFS) {
			t.Errorf("write %s: %v, want EROFS", path, err)
		}
	}
	if err := c.Write(ctx, "/etc/cni/net.d/05-other.conflist.off", "x"); err != nil {
		t.Errorf("a CNI's DaemonSet could not write: %v", err)
	}
	checkProcesses(ctx, t, c)
	checkConfinement(ctx, t, c, service(release.Up(t, vm), "netd").PID)
	release.PowerOff(t, vm)
	checkState(t, vm.Disk())
}

func mountOf(t *testing.T, mountinfo, target string) string {
	t.Helper()
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == target {
			return strings.TrimSpace(line)
		}
	}
	t.Errorf("nothing is mounted at %s", target)
	return ""
}

// checkProcesses wants each service in its cgroup, sessions of their own, and
// no zombie.
func checkProcesses(ctx context.Context, t *testing.T, c probe.Client) {
	t.Helper()
	processes, err := c.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"kubelet": "/system/kubelet", "containerd": "/system/containerd"}
	for _, p := range processes {
		if cgroup, ok := want[p.Comm]; ok {
			if p.CGroup != cgroup {
				t.Errorf("%s is in cgroup %s, want %s", p.Comm, p.CGroup, cgroup)
			}
			delete(want, p.Comm)
		}
		if stat, err := c.Text(ctx, "/proc/"+strconv.Itoa(p.PID)+"/stat"); err == nil && strings.Contains(stat, ") Z ") {
			t.Errorf("process %d (%s) is a zombie", p.PID, p.Comm)
		}
	}
	for comm := range want {
		t.Errorf("no process %s", comm)
	}
}

// netdStatus is what the kernel must say about netd, the own daemon that goes
// on running (proc_pid_status(5)).
var netdStatus = map[string]string{
	"Uid": "0 0 0 0", "Groups": "",
	"CapInh": "0000000000000000", "CapPrm": netdCaps, "CapEff": netdCaps, "CapBnd": netdCaps, "CapAmb": "0000000000000000",
	"NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1",
}

const netdCaps = "0000000000003400" // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW

// netdWritable are the only mounts that netd may write to.
var netdWritable = []string{"/proc/sys/net", "/run/holdfast/netd", "/run/holdfast/notify/netd"}

// checkConfinement asks the kernel how far a daemon reaches.
func checkConfinement(ctx context.Context, t *testing.T, c probe.Client, pid int) {
	t.Helper()
	proc := func(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	text := func(path string) string {
		s, err := c.Text(ctx, path)
		if err != nil {
			t.Errorf("read %s: %v", path, err)
		}
		return s
	}
	status := map[string]string{}
	for line := range strings.Lines(text(proc(pid, "status"))) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	for key, want := range netdStatus {
		if status[key] != want {
			t.Errorf("netd: %s is %q, want %q", key, status[key], want)
		}
	}
	var writable []string
	for line := range strings.Lines(text(proc(pid, "mountinfo"))) {
		f := strings.Fields(line)
		if len(f) > 5 && !strings.HasPrefix(f[5]+",", "ro,") {
			writable = append(writable, f[4])
		}
	}
	slices.Sort(writable)
	if !slices.Equal(writable, netdWritable) {
		t.Errorf("netd may write to the mounts %q, want %q", writable, netdWritable)
	}
	for _, kind := range []string{"mnt", "pid", "ipc", "cgroup"} {
		own, err := c.Readlink(ctx, proc(pid, "ns/"+kind))
		host, err2 := c.Readlink(ctx, proc(1, "ns/"+kind))
		if err := errors.Join(err, err2); err != nil || own == host {
			t.Errorf("netd's %s namespace is %s, PID 1's %s, %v", kind, own, host, err)
		}
	}
	for file, want := range map[string]string{"memory.max": "67108864", "pids.max": "64"} {
		if got := text("/sys/fs/cgroup/system/netd/" + file); got != want {
			t.Errorf("netd: %s is %s, want %s", file, got, want)
		}
	}
	if names, err := c.List(ctx, proc(pid, "root/var")); err != nil || len(names) > 0 {
		t.Errorf("netd sees %q in /var, %v", names, err)
	}
}

// TestServicesComeBackWithoutTheirPods kills each service; it must be back,
// and the pods must not have noticed.
func TestServicesComeBackWithoutTheirPods(t *testing.T) {
	t.Parallel()
	vm, c, ctx := inside(t, release.Open(t))
	get(t, vm, "/")
	before := pods(ctx, t, c)
	pace := time.NewTicker(restartPace)
	defer pace.Stop()
	for round := range soak.Count(1, 50) {
		if round > 0 {
			<-pace.C
		}
		for _, name := range []string{"containerd", "kubelet", "netd"} {
			killAndAwait(ctx, t, vm, c, name)
		}
	}
	after := pods(ctx, t, c)
	for pid, start := range before {
		if after[pid] != start {
			t.Errorf("process %d of a pod was replaced", pid)
		}
	}
	// SIGINT is what ctrl-alt-del becomes: an orderly restart.
	if err := c.Kill(ctx, 1, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if exit, err := vm.Wait(ctx); err != nil || exit.Reason != qemu.GuestReset {
		t.Fatalf("ended by %q, %v, want %q", exit.Reason, err, qemu.GuestReset)
	}
	checkState(t, vm.Disk())
}

// restartPace keeps rounds within the services' restart limit of 5 a minute.
const restartPace = 13 * time.Second

// killAndAwait kills a service and waits until it is back and the pod serves.
func killAndAwait(ctx context.Context, t *testing.T, vm *qemu.VM, c probe.Client, name string) {
	t.Helper()
	old := service(release.Up(t, vm), name)
	if err := c.Kill(ctx, old.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	release.Await(t, vm, func(r status.Report) bool {
		s := service(r, name)
		return s.State == "ready" && s.PID != old.PID && s.Restarts == old.Restarts+1
	})
	get(t, vm, "/")
}

func service(r status.Report, name string) status.Service {
	for _, s := range r.Services {
		if s.Name == name {
			return s
		}
	}
	return status.Service{}
}

// pods lists the processes of all pods with their start times.
func pods(ctx context.Context, t *testing.T, c probe.Client) map[int]int64 {
	t.Helper()
	processes, err := c.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]int64{}
	for _, p := range processes {
		if strings.HasPrefix(p.CGroup, "/kubepods") {
			out[p.PID] = p.StartMs
		}
	}
	if len(out) < 4 { // two pods, each with a pause process
		t.Fatalf("%d processes in pods, want at least 4", len(out))
	}
	return out
}
