package proc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/plan"
	"holdfast/kernel/loopback"
)

// ChildName is argv[0] of a child before it execs its program.
const ChildName = "holdfast-child"

// File descriptors that the parent hands to a child.
const (
	planFD  = 3
	setupFD = 4
)

// childEnvironment keeps Go's runtime from preparing for a life longer than
// the child's: one processor, so no further threads, and no collections.
var childEnvironment = []string{"GOMAXPROCS=1", "GOGC=off"}

// Child finishes a child's set-up and executes its program; it returns only
// to report failure, as an exit code. All of it runs on one locked thread, so
// that what is set here is set for the thread that execs.
func Child() int {
	runtime.LockOSThread()
	err := run()
	_, _ = unix.Write(setupFD, []byte(err.Error()))
	return 127
}

func run() error {
	p, err := readPlan()
	if err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	c := &child{Plan: p, label: -1}
	for _, s := range steps {
		if s.when != nil && !s.when(c) {
			continue
		}
		if err := s.do(c); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := syscall.Exec(c.Args[0], c.Args, c.Env); err != nil {
		return fmt.Errorf("execute %s: %w", c.Args[0], err)
	}
	return nil
}

// child is a plan that is being carried out.
type child struct {
	plan.Plan
	label int // file descriptor of the attribute that takes the SELinux label
}

// step is one part of a child's set-up.
type step struct {
	name string
	when func(*child) bool // nil: always
	do   func(*child) error
}

// steps are a child's set-up. Their order is as it is because …
//
//   - a file of /proc/self that is to be written is opened before the view,
//     which may have /proc read-only or be another;
//   - a cgroup namespace has the group that its maker is in as its root, so it
//     is made here and not by clone(2); before the view, whose cgroup2 shows it;
//   - the view, the loopback interface and raised limits need capabilities of
//     PID 1, and the view must not depend on the user's right to look around;
//   - limits come after what still opens files and memory for itself;
//   - the bounding set takes CAP_SETPCAP, and the user change takes all
//     capabilities unless they are kept, so that the sets come last of the three;
//   - an SELinux label is a property of the next exec, and its file could not be
//     opened once a filter is in place;
//   - a filter needs no_new_privs, and may forbid any call made here: nothing
//     but execve comes after it.
var steps = []step{
	{name: "close inherited files", do: closeInherited},
	{name: "reset signals", do: resetSignals},
	{name: "set oom score", do: setOOMScore},
	{name: "open SELinux label", when: func(c *child) bool { return c.Label != "" }, do: openLabel},
	{name: "bring up loopback", when: func(c *child) bool { return c.Clone&unix.CLONE_NEWNET != 0 }, do: func(*child) error { return loopback.Up() }},
	{name: "make cgroup namespace", when: func(c *child) bool { return c.Cgroup }, do: func(*child) error { return unix.Unshare(unix.CLONE_NEWCGROUP) }},
	{name: "make view", when: func(c *child) bool { return c.View != nil }, do: func(c *child) error { return c.View.Enter() }},
	{name: "change directory", when: func(c *child) bool { return c.Cwd != "" }, do: func(c *child) error { return os.Chdir(c.Cwd) }},
	{name: "find program", when: filtered, do: findProgram},
	{name: "set I/O priority", when: func(c *child) bool { return c.IOPriority != 0 }, do: setIOPriority},
	{name: "set resource limits", do: setLimits},
	{name: "drop bounding capabilities", when: func(c *child) bool { return c.Capabilities != nil }, do: dropBounding},
	{name: "set umask", when: func(c *child) bool { return c.Umask != nil }, do: func(c *child) error { unix.Umask(int(*c.Umask)); return nil }},
	{name: "set user", do: setUser},
	{name: "set capabilities", when: func(c *child) bool { return c.Capabilities != nil }, do: setCapabilities},
	{name: "set no_new_privs", when: func(c *child) bool { return c.NoNewPrivileges }, do: setNoNewPrivileges},
	{name: "set SELinux label", when: func(c *child) bool { return c.Label != "" }, do: setLabel},
	{name: "install system call filter", when: filtered, do: func(c *child) error { return c.Filter.Install() }},
}

func filtered(c *child) bool { return len(c.Filter.Code) > 0 }

// readPlan reads the plan, which the parent has written whole.
func readPlan() (plan.Plan, error) {
	var st unix.Stat_t
	if err := unix.Fstat(planFD, &st); err != nil {
		return plan.Plan{}, err
	}
	data := make([]byte, st.Size)
	if n, err := unix.Pread(planFD, data, 0); err != nil || n != len(data) {
		return plan.Plan{}, errors.Join(err, fmt.Errorf("%d of %d bytes", n, len(data)))
	}
	return plan.Decode(data)
}

// closeInherited leaves the program its standard streams and nothing else.
func closeInherited(*child) error {
	return unix.CloseRange(planFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// findProgram says that there is no program while it can still be said: a
// filter may forbid to write.
func findProgram(c *child) error {
	if err := unix.Access(c.Args[0], unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w", c.Args[0], err)
	}
	return nil
}
