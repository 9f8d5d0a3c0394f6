package boot

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/init/status"
	"holdfast/kernel/cgroup"
	"holdfast/kernel/efivar"
	"holdfast/kernel/loopback"
	"holdfast/kernel/mount"
	"holdfast/kernel/sysctl"
)

// Stage2 makes the verified root a running system.
var Stage2 = []Step{
	{Name: "mount run-time", Do: mountRuntime},
	{Name: "set sysctls", Survive: true, Do: func(*Node) (string, error) {
		return fmt.Sprintf("%d set", len(sysctls)), sysctl.Apply(sysctls)
	}},
	{Name: "raise loopback", Survive: true, Do: func(*Node) (string, error) { return "127.0.0.1, ::1", loopback.Up() }},
	{Name: "find root", Do: recallRoot},
	{Name: "check posture", Do: checkPosture},
}

// Stage2State goes on where Stage2 ends. Meanwhile the early services come to
// their gates.
var Stage2State = []Step{
	{Name: "mount state", Do: mountState},
	{Name: "recall time", Survive: true, Do: recallTime},
	{Name: "lend time", Survive: true, Do: lendTime},
	{Name: "mount host paths", Do: mountHostPaths},
	{Name: "set identity", Do: setIdentity},
	{Name: "measure sysinit", Survive: true, Do: measure("sysinit")},
}

var runtimeMounts = []mount.Mount{
	{Source: "tmpfs", Target: "/tmp", Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev, Data: "mode=1777,size=20%"},
	{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: mount.NoSuid | mount.NoExec, Data: "gid=5,mode=0620,ptmxmode=0666", Mode: 0o755},
	{Source: "tmpfs", Target: "/dev/shm", Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev, Data: "mode=1777", Mode: 0o1777},
	{Source: "mqueue", Target: "/dev/mqueue", Type: "mqueue", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Mode: 0o1777},
	{Source: "hugetlbfs", Target: "/dev/hugepages", Type: "hugetlbfs", Flags: mount.NoSuid | mount.NoDev, Mode: 0o755},
	{Source: "cgroup2", Target: "/sys/fs/cgroup", Type: "cgroup2", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Data: "nsdelegate,memory_recursiveprot"},
	{Source: "bpf", Target: "/sys/fs/bpf", Type: "bpf", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Data: "mode=0700"},
	{Source: "securityfs", Target: "/sys/kernel/security", Type: "securityfs", Flags: mount.NoSuid | mount.NoDev | mount.NoExec},
	{Source: "tracefs", Target: "/sys/kernel/tracing", Type: "tracefs", Flags: mount.NoSuid | mount.NoDev | mount.NoExec},
}

// deviceLinks are what programs expect in /dev beside the kernel's nodes.
var deviceLinks = [][2]string{
	{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"},
}

func mountRuntime(*Node) (string, error) {
	if err := mount.Propagate("/", mount.Shared); err != nil { // kubelet shares mounts with pods
		return "", err
	}
	for _, m := range runtimeMounts {
		if err := m.Do(); err != nil {
			return "", err
		}
	}
	if err := joinCgroup(); err != nil {
		return "", err
	}
	for _, l := range deviceLinks {
		if err := os.Symlink(l[0], l[1]); err != nil {
			return "", err
		}
	}
	efi := mount.Mount{Source: "efivarfs", Target: efivar.Dir, Type: "efivarfs", Flags: mount.NoSuid | mount.NoDev | mount.NoExec}
	if err := efi.Do(); err != nil {
		return "no EFI variables", nil // posture decides whether that matters
	}
	return "", nil
}

// ownMemory stays with PID 1 when the node is short of memory: twice what it needs.
const ownMemory = "16777216"

// joinCgroup moves PID 1 out of the root group, so that its own use of
// resources can be seen and protected.
func joinCgroup() error {
	g, err := cgroup.Make(cgroup.Init)
	if err != nil {
		return err
	}
	if err := g.Set("memory.min", ownMemory); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil { // children get their own
		return err
	}
	return g.Join(os.Getpid())
}

// sysctls: what kubelet's protectKernelDefaults and CNIs expect, and the
// run-time half of the hardening in kernel/config/security.config.
var sysctls = []sysctl.Setting{
	{Name: "fs/inotify/max_user_instances", Value: "8192"},
	{Name: "fs/inotify/max_user_watches", Value: "1048576"},
	{Name: "fs/protected_fifos", Value: "2"},
	{Name: "fs/protected_hardlinks", Value: "1"},
	{Name: "fs/protected_regular", Value: "2"},
	{Name: "fs/protected_symlinks", Value: "1"},
	{Name: "fs/suid_dumpable", Value: "0"},
	{Name: "kernel/dmesg_restrict", Value: "1"},
	{Name: "kernel/keys/root_maxbytes", Value: "25000000"},
	{Name: "kernel/keys/root_maxkeys", Value: "1000000"},
	{Name: "kernel/kptr_restrict", Value: "2"},
	{Name: "kernel/panic", Value: "10"},
	{Name: "kernel/panic_on_oops", Value: "1"},
	{Name: "kernel/unprivileged_bpf_disabled", Value: "1"},
	{Name: "kernel/yama/ptrace_scope", Value: "1"},
	{Name: "net/bridge/bridge-nf-call-ip6tables", Value: "1"},
	{Name: "net/bridge/bridge-nf-call-iptables", Value: "1"},
	{Name: "net/core/bpf_jit_harden", Value: "2"},
	{Name: "net/core/somaxconn", Value: "32768"},
	{Name: "net/ipv4/conf/all/accept_redirects", Value: "0"},
	{Name: "net/ipv4/conf/all/send_redirects", Value: "0"},
	{Name: "net/ipv4/ip_forward", Value: "1"},
	{Name: "net/ipv6/conf/all/accept_redirects", Value: "0"},
	{Name: "net/ipv6/conf/all/forwarding", Value: "1"},
	{Name: "vm/max_map_count", Value: "262144"},
	{Name: "vm/overcommit_memory", Value: "1"},
	{Name: "vm/panic_on_oom", Value: "0"},
}

// recallRoot learns again in stage 2 what stage 1 found.
func recallRoot(n *Node) (string, error) {
	if _, err := parseCmdline(n); err != nil {
		return "", err
	}
	err := n.lookForRoot()
	return n.disk.Node(), err
}

// hostPaths are directories of the read-only root that CNI and CSI
// DaemonSets write to: an overlay puts the state volume above what the root
// brings, so that an update of the root still reaches files nobody changed.
var hostPaths = []string{
	"/etc/cni/net.d",
	"/etc/kubernetes",
	"/opt/cni/bin",
	"/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
}

func mountHostPaths(*Node) (string, error) {
	for _, path := range hostPaths {
		base := filepath.Join(stateDir, "host", strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"))
		upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return "", err
		}
		m := mount.Mount{
			Source: "overlay", Target: path, Type: "overlay", Flags: mount.NoSuid | mount.NoDev,
			Data: fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path, upper, work),
		}
		if err := m.Do(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d overlays", len(hostPaths)), nil
}

// setIdentity gives the node its machine id (machine-id(5)), made once and
// kept on the state volume, and a host name until a configuration brings one.
func setIdentity(n *Node) (string, error) {
	id, err := machineID()
	if err != nil {
		return "", err
	}
	// /etc is read-only: the id is mounted over the root's empty file.
	if err := os.WriteFile("/run/machine-id", []byte(id+"\n"), 0o444); err != nil {
		return "", err
	}
	m := mount.Mount{Source: "/run/machine-id", Target: "/etc/machine-id", Flags: mount.Bind}
	if err := m.Do(); err != nil {
		return "", err
	}
	name := "holdfast-" + id[:8]
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", fmt.Errorf("set host name: %w", err)
	}
	n.Report.Update(func(r *status.Report) {
		r.Version, r.BootID = n.version(), bootID()
		r.Firmware = firmwareTimes()
	})
	return name, nil
}

func machineID() (string, error) {
	path := filepath.Join(stateDir, "machine-id")
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == 32 {
		if _, err := hex.DecodeString(id); err == nil {
			return id, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80 // a version 4 UUID
	id := hex.EncodeToString(raw)
	return id, writeSynced(path, id+"\n")
}

// writeSynced replaces a file so that after a power cut it is old or new.
func writeSynced(path, text string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// version is the release as the root names it.
func (n *Node) version() string {
	b, err := os.ReadFile("/usr/lib/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VERSION_ID="); ok {
			return strings.Trim(v, "\"\n")
		}
	}
	return ""
}

func firmwareTimes() status.Firmware {
	var f status.Firmware
	if us, err := efivar.LoaderTime("LoaderTimeInitUSec"); err == nil {
		f.LoaderStartMs = us / 1000
	}
	if us, err := efivar.LoaderTime("LoaderTimeExecUSec"); err == nil {
		f.LoaderExecMs = us / 1000
	}
	return f
}
