// Package seccomp compiles the system call filter of an OCI specification into a classic BPF program and installs it.
//
// The format is that of the OCI runtime specification (config-linux.md,
// "Seccomp"), the program that of seccomp(2). Honoured are the actions ALLOW,
// LOG, ERRNO, TRAP, KILL_THREAD (alias KILL) and KILL_PROCESS, conditions on
// arguments, and the flags LOG and SPEC_ALLOW. Not supported are TRACE and
// NOTIFY, which need a second process, and every architecture but x86-64: a
// system call by the tables of i386 or x32 ends the process.
//
// # Decisions
//
// The compiler is our own. github.com/elastic/go-seccomp-bpf, the one
// maintained library without cgo, emits a linear list, ignores names that an
// architecture lacks, and brings golang.org/x/net into PID 1. A filter runs at
// every system call, so the program here is a binary search over merged ranges
// of numbers: about log2(ranges) instructions instead of one for each name.
//
// Entries for one system call are tried in the order of the specification; the
// first whose conditions all hold decides, and one without conditions is tried
// last. Runtimes disagree on two conditions for the same argument (and, or), so
// that is refused.
package seccomp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filter is a compiled filter. The zero Filter is none.
type Filter struct {
	Flags uint32 // SECCOMP_FILTER_FLAG_*
	Code  []byte // struct sock_filter, one after the other
}

// instructionSize is sizeof(struct sock_filter).
const instructionSize = int(unsafe.Sizeof(unix.SockFilter{}))

// Install puts the filter on this thread, which must have no_new_privs, for
// good.
func (f Filter) Install() error {
	if len(f.Code) == 0 || len(f.Code)%instructionSize != 0 || len(f.Code)/instructionSize > unix.BPF_MAXINSNS {
		return fmt.Errorf("filter is %d bytes, want instructions of %d bytes, at most %d", len(f.Code), instructionSize, unix.BPF_MAXINSNS)
	}
	program := unix.SockFprog{
		Len:    uint16(len(f.Code) / instructionSize),
		Filter: (*unix.SockFilter)(unsafe.Pointer(&f.Code[0])),
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(f.Flags), uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
