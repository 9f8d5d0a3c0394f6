// Command pause is process 1 of every pod: it holds the pod's namespaces, leaves no orphan unreaped, and ends on a signal.
//
// One runs in each pod, so its memory counts: it links nothing but package
// syscall, and lets the kernel and the Go runtime do its work.
package main

import (
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct sigaction on amd64.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	ignore  = 1 // SIG_IGN
	setSize = 8 // bytes of a kernel signal set
)

func main() {
	// While SIGCHLD is ignored the kernel reaps children by itself (wait(2), notes).
	action := sigaction{handler: ignore}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD),
		uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0); errno != 0 {
		panic(errno)
	}
	// SIGTERM and SIGINT end the program in the Go runtime's handler, with
	// status 2; other handled signals only interrupt pause(2).
	for {
		_, _, _ = syscall.Syscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
}
