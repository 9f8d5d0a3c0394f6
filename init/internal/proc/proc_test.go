package proc

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Args[0] == ChildName {
		os.Exit(Child())
	}
	os.Exit(m.Run())
}

// reaper runs a reaper for the test and makes this process adopt orphans.
func reaper(t *testing.T) *Reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := NewReaper()
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-sig:
				r.Reap()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { signal.Stop(sig); close(stop); <-done })
	return r
}

func wait(t *testing.T, p *Process) Status {
	t.Helper()
	select {
	case s := <-p.Exit:
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return s
	case <-time.After(20 * time.Second):
		t.Fatalf("process %d did not end", p.PID)
		return Status{}
	}
}

func shell(script string) specs.Process {
	return specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/"}
}

func TestStatus(t *testing.T) {
	r := reaper(t)
	for script, want := range map[string]string{
		"exit 0":     "exited with status 0",
		"exit 3":     "exited with status 3",
		"kill -9 $$": "killed by SIGKILL",
	} {
		p, err := r.Start(Command{Process: shell(script)})
		if err != nil {
			t.Fatal(err)
		}
		if s := wait(t, p); s.String() != want || s.OK() != (script == "exit 0") {
			t.Errorf("%s: %s, OK %v, want %s", script, s, s.OK(), want)
		}
	}
}

func TestSetupFailuresNameTheStep(t *testing.T) {
	r := reaper(t)
	sh := shell("exit 0")
	for want, change := range map[string]func(*specs.Process){
		"execute /no/such: no such file":       func(p *specs.Process) { p.Args = []string{"/no/such"} },
		"change directory: chdir /no":          func(p *specs.Process) { p.Cwd = "/no" },
		"set resource limits: RLIMIT_X is not": func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		`drop bounding capabilities: "CAP_X"`: func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_X"}}
		},
	} {
		c := sh
		change(&c)
		p, err := r.Start(Command{Process: c})
		if err != nil {
			t.Fatal(err)
		}
		if s := wait(t, p); !strings.HasPrefix(s.Setup, want) || s.OK() {
			t.Errorf("got %q, want %q", s.Setup, want)
		}
	}
}

func output(t *testing.T, r *Reaper, c specs.Process) string {
	t.Helper()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Start(Command{Process: c, Stdout: pw, Stderr: pw})
	pw.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(pr)
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, p); !s.OK() {
		t.Fatalf("%s: %s", s, out)
	}
	return string(out)
}

func TestChildHonoursItsSpec(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing credentials needs root")
	}
	signal.Ignore(syscall.SIGHUP) // must not reach the child
	defer signal.Reset(syscall.SIGHUP)
	r := reaper(t)
	c := shell(`grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|SigBlk|SigIgn):' /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l; echo $0 $A; pwd`)
	score := 7
	caps := []string{"CAP_NET_BIND_SERVICE", "CAP_NET_RAW"}
	c.User = specs.User{UID: 65534, GID: 65533, AdditionalGids: []uint32{9, 10}}
	c.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps}
	c.NoNewPrivileges, c.OOMScoreAdj, c.Env, c.Cwd = true, &score, []string{"A=b"}, "/usr"
	c.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}}
	got := strings.Join(strings.Fields(output(t, r, c)), " ")
	mask := fmt.Sprintf("%016x", 1<<10|1<<13)
	zero := strings.Repeat("0", 16)
	want := "Uid: 65534 65534 65534 65534 Gid: 65533 65533 65533 65533 Groups: 9 10" +
		" SigBlk: " + zero + " SigIgn: " + zero +
		" CapInh: " + mask + " CapPrm: " + mask + " CapEff: " + mask + " CapBnd: " + mask + " CapAmb: " + mask +
		" NoNewPrivs: 1 77 7 4 /bin/sh b /usr"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReapsOrphansAndOwnChildren(t *testing.T) {
	r := reaper(t)
	var ps []*Process
	for range 20 {
		p, err := r.Start(Command{Process: shell(`for i in 1 2 3 4 5; do (exit 9 &) ; done; exit 5`)})
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for _, p := range ps {
		if s := wait(t, p); s.Wait.ExitStatus() != 5 {
			t.Errorf("process %d: %s, want its own status 5", p.PID, s)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.ECHILD {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("children are left: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestSignal(t *testing.T) {
	r := reaper(t)
	p, err := r.Start(Command{Process: shell("sleep 60")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := (<-p.Exit); !s.Wait.Signaled() {
		t.Error(s)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to an ended process: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
