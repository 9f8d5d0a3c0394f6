package proc

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilities are the names of include/uapi/linux/capability.h; a name's
// place is its number.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capSet turns names into a bit set.
func capSet(names []string) (uint64, error) {
	var set uint64
	for _, name := range names {
		n := slices.Index(capabilities, name)
		if n < 0 {
			return 0, fmt.Errorf("%q is not a capability", name)
		}
		set |= 1 << n
	}
	return set, nil
}

// dropBounding limits what any later exec may gain. A process without
// capabilities in its specification keeps all of PID 1's.
func dropBounding(p *specs.Process) error {
	if p.Capabilities == nil {
		return nil
	}
	keep, err := capSet(p.Capabilities.Bounding)
	if err != nil {
		return err
	}
	for n := range capabilities {
		if keep&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("%s: %w", capabilities[n], err)
		}
	}
	return nil
}

func setCapabilities(p *specs.Process) error {
	if p.Capabilities == nil {
		return nil
	}
	var sets [3]uint64 // effective, permitted, inheritable, as in cap_user_data_t
	for i, names := range [3][]string{p.Capabilities.Effective, p.Capabilities.Permitted, p.Capabilities.Inheritable} {
		var err error
		if sets[i], err = capSet(names); err != nil {
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(sets[0]), Permitted: uint32(sets[1]), Inheritable: uint32(sets[2])},
		{Effective: uint32(sets[0] >> 32), Permitted: uint32(sets[1] >> 32), Inheritable: uint32(sets[2] >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return raiseAmbient(p.Capabilities.Ambient)
}

func raiseAmbient(names []string) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient set: %w", err)
	}
	for _, name := range names {
		n := slices.Index(capabilities, name)
		if n < 0 {
			return fmt.Errorf("%q is not a capability", name)
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("raise ambient %s: %w", name, err)
		}
	}
	return nil
}

// raw makes a system call on this thread alone.
func raw(trap, a, b, c uintptr) error {
	if _, _, errno := unix.RawSyscall(trap, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

func uintptrOf(p *uint32) uintptr { return uintptr(unsafe.Pointer(p)) }
