package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ChildName is argv[0] of a child before it execs its program.
const ChildName = "holdfast-child"

// File descriptors that the parent hands to a child.
const (
	planFD  = 3
	setupFD = 4
)

// Child finishes a child's set-up and executes its program; it returns only
// to report failure, as an exit code. All of it runs on one locked thread, so
// that the credentials set here are those of the thread that execs.
func Child() int {
	runtime.LockOSThread()
	err := child()
	_, _ = unix.Write(setupFD, []byte(err.Error()))
	return 127
}

func child() error {
	var p specs.Process
	if err := json.NewDecoder(os.NewFile(planFD, "plan")).Decode(&p); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func(*specs.Process) error
	}{
		{"close inherited files", closeInherited},
		{"reset signals", resetSignals},
		{"set oom score", setOOMScore},
		{"set resource limits", setLimits},
		{"change directory", changeDir},
		{"drop bounding capabilities", dropBounding},
		{"set user", setUser},
		{"set capabilities", setCapabilities},
		{"set no_new_privs", setNoNewPrivileges},
	} {
		if err := step.do(&p); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := syscall.Exec(p.Args[0], p.Args, p.Env); err != nil {
		return fmt.Errorf("execute %s: %w", p.Args[0], err)
	}
	return nil
}

// closeInherited leaves the program its standard streams and nothing else.
func closeInherited(*specs.Process) error {
	return unix.CloseRange(planFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

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
func resetSignals(*specs.Process) error {
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

func setOOMScore(p *specs.Process) error {
	score := 0
	if p.OOMScoreAdj != nil {
		score = *p.OOMScoreAdj
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}

// rlimits maps the names of getrlimit(2) to their numbers.
var rlimits = map[string]int{
	"RLIMIT_CORE":    unix.RLIMIT_CORE,
	"RLIMIT_NOFILE":  unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":   unix.RLIMIT_NPROC,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_STACK":   unix.RLIMIT_STACK,
	"RLIMIT_AS":      unix.RLIMIT_AS,
}

func setLimits(p *specs.Process) error {
	for _, l := range p.Rlimits {
		n, ok := rlimits[l.Type]
		if !ok {
			return fmt.Errorf("%s is not known", l.Type)
		}
		if err := unix.Setrlimit(n, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return fmt.Errorf("%s: %w", l.Type, err)
		}
	}
	return nil
}

func changeDir(p *specs.Process) error {
	if p.Cwd == "" {
		return nil
	}
	return os.Chdir(p.Cwd)
}

// setUser changes this thread only, which is the one that execs. Capabilities
// survive the change until setCapabilities has had its say.
func setUser(p *specs.Process) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	groups := p.User.AdditionalGids
	var first *uint32
	if len(groups) > 0 {
		first = &groups[0]
	}
	return errors.Join(
		raw(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptrOf(first), 0),
		raw(unix.SYS_SETRESGID, uintptr(p.User.GID), uintptr(p.User.GID), uintptr(p.User.GID)),
		raw(unix.SYS_SETRESUID, uintptr(p.User.UID), uintptr(p.User.UID), uintptr(p.User.UID)),
	)
}

func setNoNewPrivileges(p *specs.Process) error {
	if !p.NoNewPrivileges {
		return nil
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
