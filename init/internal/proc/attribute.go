package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is struct sigaction of the kernel (include/linux/signal_types.h)
// on 64-bit machines; its last field is a mask of signals 1 to 64.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	signals   = 64
	sigIgnore = 1 // SIG_IGN
)

// resetSignals gives every ignored signal its default action: exec(2) resets
// handlers, but keeps what is ignored.
func resetSignals(*child) error {
	for n := uintptr(1); n <= signals; n++ {
		var now, preset sigaction
		size := unsafe.Sizeof(now.mask)
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&now)), size, 0, 0); errno != 0 {
			return fmt.Errorf("signal %d: %w", n, errno)
		}
		if now.handler != sigIgnore {
			continue
		}
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&preset)), 0, size, 0, 0); errno != 0 {
			return fmt.Errorf("signal %d: %w", n, errno)
		}
	}
	return nil
}

func setOOMScore(c *child) error {
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, strconv.AppendInt(nil, int64(c.OOMScore), 10))
	return err
}

// openLabel opens this thread's attribute: only the thread itself may write it.
func openLabel(c *child) (err error) {
	c.label, err = unix.Open("/proc/thread-self/attr/exec", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	return err
}

func setLabel(c *child) error {
	if _, err := unix.Write(c.label, []byte(c.Label)); err != nil {
		return fmt.Errorf("%s: %w", c.Label, err)
	}
	return nil
}

// SELinux before its policy is loaded calls every process this.
const labelWithoutPolicy = "kernel"

// labels tells whether the kernel takes SELinux labels: SELinux is on and has a
// policy.
func labels() bool {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/selinux", &st); err != nil || st.Type != unix.SELINUX_MAGIC {
		return false
	}
	own, err := os.ReadFile("/proc/self/attr/current")
	return err == nil && strings.TrimRight(string(own), "\x00\n") != labelWithoutPolicy
}

func setIOPriority(c *child) error {
	const ioprioWhoProcess = 1 // 0 is the calling thread
	return raw(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, uintptr(c.IOPriority))
}

// softFiles is the soft limit of open files of a process whose specification
// names none, as the kernel gives it to the first process.
const softFiles = 1024

// setLimits sets the limits of the plan. Go has raised this process's soft
// limit of open files as it does in all its programs; what programs with
// select(2) can bear is less.
func setLimits(c *child) error {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	files.Cur = min(softFiles, files.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	for _, l := range c.Limits {
		if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return fmt.Errorf("limit %d to %d, at most %d: %w", l.Resource, l.Soft, l.Hard, err)
		}
	}
	return nil
}

// setUser changes this thread only, which is the one that execs. Capabilities
// survive the change until setCapabilities has had its say.
func setUser(c *child) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	var first *uint32
	if len(c.Groups) > 0 {
		first = &c.Groups[0]
	}
	user, group := uintptr(c.UID), uintptr(c.GID)
	return errors.Join(
		raw(unix.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(first)), 0),
		raw(unix.SYS_SETRESGID, group, group, group),
		raw(unix.SYS_SETRESUID, user, user, user),
	)
}

// dropBounding limits what any later exec may gain, up to the last capability
// that this kernel has. A process without capabilities in its specification
// keeps all of PID 1's.
func dropBounding(c *child) error {
	for n := uintptr(0); n < 64; n++ {
		if c.Capabilities.Bounding&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err == unix.EINVAL {
			return nil
		} else if err != nil {
			return fmt.Errorf("capability %d: %w", n, err)
		}
	}
	return nil
}

func setCapabilities(c *child) error {
	s := c.Capabilities
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(s.Effective), Permitted: uint32(s.Permitted), Inheritable: uint32(s.Inheritable)},
		{Effective: uint32(s.Effective >> 32), Permitted: uint32(s.Permitted >> 32), Inheritable: uint32(s.Inheritable >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient set: %w", err)
	}
	for n := uintptr(0); n < 64; n++ {
		if s.Ambient&(1<<n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0); err != nil {
			return fmt.Errorf("raise ambient capability %d: %w", n, err)
		}
	}
	return nil
}

func setNoNewPrivileges(*child) error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }

// raw makes a system call on this thread alone.
func raw(trap, a, b, c uintptr) error {
	if _, _, errno := unix.RawSyscall(trap, a, b, c); errno != 0 {
		return errno
	}
	return nil
}
