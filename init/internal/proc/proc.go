// Package proc starts processes in their cgroup, signals them through pidfds and reaps every child of PID 1.
//
// # Decisions
//
// One reaper waits for all children, PID 1's own and orphans alike, and hands
// the status of a started process to its owner; nothing else may wait, so no
// status is stolen. fork and registration happen under one lock that the
// reaper takes before it looks an owner up: a child that dies at once still
// finds its owner.
//
// A child first runs this same program (see Child), which applies what
// clone(2) can't and then execs. What fails there comes back through a
// close-on-exec pipe as text that names the step.
package proc

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Command is what to start.
type Command struct {
	Process specs.Process
	Cgroup  *os.File // directory of the cgroup it is born in; nil: the parent's
	Stdin   *os.File // nil: /dev/null
	Stdout  *os.File // nil: /dev/null
	Stderr  *os.File // nil: /dev/null
}

// Process is a running child. Exit yields its status once.
type Process struct {
	PID   int
	Exit  <-chan Status
	exit  chan Status
	pidfd int
	setup *os.File // read end of the child's error pipe
}

// Status is how a process ended.
type Status struct {
	Wait  syscall.WaitStatus
	Setup string // what failed before the program was executed; empty: nothing
}

// OK tells whether the process ended by itself with status 0.
func (s Status) OK() bool { return s.Setup == "" && s.Wait.Exited() && s.Wait.ExitStatus() == 0 }

// Failed tells whether the process never ran or was ended by a signal, or
// else whether its exit status is at least min.
func (s Status) Failed(min int) bool {
	return s.Setup != "" || !s.Wait.Exited() || s.Wait.ExitStatus() >= min
}

func (s Status) String() string {
	switch {
	case s.Setup != "":
		return s.Setup
	case s.Wait.Signaled():
		return "killed by " + unix.SignalName(s.Wait.Signal())
	default:
		return fmt.Sprintf("exited with status %d", s.Wait.ExitStatus())
	}
}

// Reaper owns wait(2) in this process.
type Reaper struct {
	mu    sync.Mutex
	procs map[int]*Process
}

// NewReaper makes a reaper; Reap must run whenever SIGCHLD arrives.
func NewReaper() *Reaper { return &Reaper{procs: map[int]*Process{}} }

// Start starts a command through the child entry point.
func (r *Reaper) Start(c Command) (*Process, error) {
	plan, err := planFile(c.Process)
	if err != nil {
		return nil, fmt.Errorf("write plan: %w", err)
	}
	defer plan.Close()
	setupR, setupW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer setupW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		setupR.Close()
		return nil, err
	}
	defer null.Close()
	p := &Process{exit: make(chan Status, 1), pidfd: -1, setup: setupR}
	p.Exit = p.exit
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Files: []uintptr{fd(c.Stdin, null), fd(c.Stdout, null), fd(c.Stderr, null), plan.Fd(), setupW.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &p.pidfd},
	}
	if c.Cgroup != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(c.Cgroup.Fd())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.PID, err = syscall.ForkExec("/proc/self/exe", []string{ChildName}, attr)
	if err != nil {
		setupR.Close()
		return nil, fmt.Errorf("fork: %w", err)
	}
	r.procs[p.PID] = p
	return p, nil
}

func fd(f, otherwise *os.File) uintptr {
	if f == nil {
		f = otherwise
	}
	return f.Fd()
}

// planFile holds the child's plan, ready to be read.
func planFile(p specs.Process) (*os.File, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	n, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(n), "plan")
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Reap collects every child that has ended and tells the owners.
func (r *Reaper) Reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		p := r.procs[pid]
		delete(r.procs, pid)
		r.mu.Unlock()
		if p != nil {
			p.exit <- Status{ws, p.setupError()}
		}
	}
}

// setupError reads what the child wrote before exec. The child is dead or
// has executed, so its end of the pipe is closed and the read ends.
func (p *Process) setupError() string {
	defer p.setup.Close()
	text, err := io.ReadAll(io.LimitReader(p.setup, 4096))
	if err != nil {
		return "read set-up error: " + err.Error()
	}
	return strings.TrimSpace(string(text))
}

// Signal sends a signal to the process itself; one that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// Close gives the pidfd back. The owner calls it after Exit.
func (p *Process) Close() error { return unix.Close(p.pidfd) }
