package seccomp

import (
	"errors"
	"runtime"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestKernelObeys installs a filter on one thread, which ends with it.
func TestKernelObeys(t *testing.T) {
	number := uint(unix.EADDRINUSE)
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"sethostname", "syslog"}, Action: specs.ActErrno},
		{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: &number, Args: []specs.LinuxSeccompArg{
			{Index: 0, Op: specs.OpNotEqual, Value: unix.AF_UNIX}, {Index: 1, Op: specs.OpMaskedEqual, Value: 15, ValueTwo: unix.SOCK_STREAM},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		install, hostname, inet, packet, local error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var r result
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		r.install = f.Install()
		r.hostname = unix.Sethostname([]byte("x"))
		r.inet = open(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC)
		r.packet = open(unix.AF_INET, unix.SOCK_DGRAM)
		r.local = open(unix.AF_UNIX, unix.SOCK_STREAM)
		done <- r
	}()
	r := <-done
	if r.install != nil || !errors.Is(r.hostname, unix.EPERM) || !errors.Is(r.inet, unix.EADDRINUSE) || r.packet != nil || r.local != nil {
		t.Errorf("%+v", r)
	}
}

func open(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func TestInstallRefuses(t *testing.T) {
	for _, code := range [][]byte{nil, make([]byte, 7), make([]byte, 8*(unix.BPF_MAXINSNS+1))} {
		if err := (Filter{Code: code}).Install(); err == nil {
			t.Errorf("%d bytes were taken for a filter", len(code))
		}
	}
}
