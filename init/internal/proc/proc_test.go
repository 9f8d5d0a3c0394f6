package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/plan"
)

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case ChildName:
		os.Exit(Child())
	case idleName:
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reaper runs a reaper for the test and makes this process adopt orphans.
func reaper(t testing.TB) *Reaper {
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

func wait(t testing.TB, p *Process) Status {
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

func shell(script string) plan.Plan {
	return plan.Plan{Args: []string{"/bin/sh", "-c", script}}
}

func TestStatus(t *testing.T) {
	r := reaper(t)
	for script, want := range map[string]string{
		"exit 0":     "exited with status 0",
		"exit 3":     "exited with status 3",
		"kill -9 $$": "killed by SIGKILL",
	} {
		p, err := r.Start(Command{Plan: shell(script)})
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
	for want, change := range map[string]func(*plan.Plan){
		"execute /no/such: no such file":            func(p *plan.Plan) { p.Args = []string{"/no/such"} },
		"change directory: chdir /no":               func(p *plan.Plan) { p.Cwd = "/no" },
		"set resource limits: limit 99":             func(p *plan.Plan) { p.Limits = []plan.Limit{{Resource: 99}} },
		"set capabilities: operation not permitted": func(p *plan.Plan) { p.Capabilities = &plan.Capabilities{Effective: 1} },
	} {
		c := sh
		change(&c)
		p, err := r.Start(Command{Plan: c})
		if err != nil {
			t.Fatal(err)
		}
		if s := wait(t, p); !strings.HasPrefix(s.Setup, want) || s.OK() {
			t.Errorf("got %q, want %q", s.Setup, want)
		}
	}
}

func output(t *testing.T, r *Reaper, p plan.Plan) string {
	t.Helper()
	return outputOf(t, r, Command{Plan: p})
}

func outputOf(t *testing.T, r *Reaper, c Command) string {
	t.Helper()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	c.Stdout, c.Stderr = pw, pw
	p, err := r.Start(c)
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

// conversation starts a program that reads and writes lines: in sends it one,
// out is its next, and done ends the conversation.
func conversation(t *testing.T, r *Reaper, c plan.Plan) (in func(), out func() string, done func()) {
	t.Helper()
	stdin, toChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromChild, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Start(Command{Plan: c, Stdin: stdin, Stdout: stdout, Stderr: stdout})
	stdin.Close()
	stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(fromChild)
	return func() { fmt.Fprintln(toChild) },
		func() string {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%q, %v", line, err)
			}
			return strings.TrimSpace(line)
		}, func() {
			toChild.Close()
			fromChild.Close()
			if s := wait(t, p); !s.OK() {
				t.Error(s)
			}
		}
}

func TestChildHonoursItsSpec(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing credentials needs root")
	}
	signal.Ignore(syscall.SIGHUP) // must not reach the child
	defer signal.Reset(syscall.SIGHUP)
	r := reaper(t)
	c := shell(`grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|SigBlk|SigIgn):' /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l; echo $0 $A; pwd`)
	const caps = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_RAW
	c.UID, c.GID, c.Groups = 65534, 65533, []uint32{9, 10}
	c.Capabilities = &plan.Capabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps}
	c.NoNewPrivileges, c.OOMScore, c.Env, c.Cwd = true, 7, []string{"A=b"}, "/usr"
	c.Limits = []plan.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 77, Hard: 88}}
	got := strings.Join(strings.Fields(output(t, r, c)), " ")
	mask := fmt.Sprintf("%016x", caps)
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
		p, err := r.Start(Command{Plan: shell(`for i in 1 2 3 4 5; do (exit 9 &) ; done; exit 5`)})
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
	p, err := r.Start(Command{Plan: shell("sleep 60")})
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
