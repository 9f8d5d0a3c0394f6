package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"holdfast/tests/bed/wire"
)

// fork is fork(2). The child has this one thread, and may do nothing but
// system calls: the Go runtime has stayed behind. A call of a function that is
// not nosplit may look for the scheduler, and then the child hangs.
//
//go:nosplit
func fork() (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall(syscall.SYS_FORK, 0, 0, 0)
	return pid, errno
}

//go:nosplit
func leave(status int) {
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(status), 0, 0)
	}
}

//go:nosplit
func nap(ms int64) {
	t := [2]int64{ms / 1000, ms % 1000 * 1e6} // struct timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// stay is the life of a process that does nothing.
//
//go:nosplit
func stay() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
	for {
		nap(3600_000)
	}
}

// orphans makes the number of orphans, each by a double fork, and notes when
// all are made. Half of them end at once, half a little later: those are
// orphans while they live, these when they are dead.
func orphans(args []string) error {
	many, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	const brood = 50 // children of one middle process, which ends before them
	for made := 0; made < many; made += brood {
		number := min(brood, many-made)
		pid, errno := fork()
		if errno != 0 {
			return fmt.Errorf("fork after %d orphans: %w", made, errno)
		}
		if pid == 0 {
			breed(number)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(int(pid), &status, 0, nil); err != nil {
			return fmt.Errorf("wait for middle process: %w", err)
		}
		if !status.Exited() || status.ExitStatus() != 0 {
			return fmt.Errorf("middle process ended with %#x", status)
		}
	}
	return note("made")
}

// breed is the life of a middle process.
//
//go:nosplit
func breed(number int) {
	for n := range number {
		pid, errno := fork()
		if errno != 0 {
			leave(1)
		}
		if pid == 0 {
			if n%2 == 0 {
				nap(50)
			}
			leave(n)
		}
	}
	leave(0)
}

// away forks a process that keeps running, and ends.
func away([]string) error {
	runtime.LockOSThread()
	pid, errno := fork()
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		stay()
	}
	return note("gone")
}

// keeper is a good service that leaves a process behind at its end, as
// containerd does its shims: it makes it at its first start only.
func keeper(args []string) error {
	file := filepath.Join(wire.Dir, "kept-"+name())
	if _, err := os.Stat(file); err == nil {
		return serve(args)
	}
	runtime.LockOSThread()
	pid, errno := fork()
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		stay()
	}
	runtime.UnlockOSThread()
	f, err := appendTo(file)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(f, pid); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return serve(args)
}

// bomb forks for ever, and so do its children. The pause after a failure is
// what leaves the other services a share of a small machine.
func bomb([]string) error {
	if err := say("READY=1"); err != nil {
		return err
	}
	runtime.LockOSThread()
	for {
		if _, errno := fork(); errno != 0 {
			nap(20)
		}
	}
}

// spin keeps every processor busy and ignores SIGTERM.
func spin([]string) error {
	ignoreTerm()
	for range runtime.NumCPU() {
		pid, errno := fork()
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			for { //nolint:staticcheck // that it spins is what it is for
			}
		}
	}
	if err := say("READY=1"); err != nil {
		return err
	}
	return linger()
}

// leak takes memory until it is ended.
func leak([]string) error {
	if err := say("READY=1"); err != nil {
		return err
	}
	var all [][]byte
	for len(all) < math.MaxInt32 {
		page := make([]byte, 1<<20)
		for i := 0; i < len(page); i += os.Getpagesize() {
			page[i] = 1
		}
		all = append(all, page)
	}
	return nil
}

// busyFile stays open for writing.
func busyFile() (*os.File, error) {
	return appendTo(filepath.Join(wire.Dir, "busy"))
}
