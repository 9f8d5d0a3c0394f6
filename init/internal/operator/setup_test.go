package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/init/control"
	"holdfast/init/internal/plan"
	"holdfast/init/internal/proc"
	"holdfast/init/internal/supervise"
	"holdfast/init/spec"
	"holdfast/init/status"
	"holdfast/kernel/cgroup"
	"holdfast/kernel/mount"
	"holdfast/kernel/power"
	"holdfast/kernel/seqpacket"
)

const (
	limit   = 20 * time.Second
	inside  = "HOLDFAST_TEST_INSIDE"
	caller  = "HOLDFAST_TEST_CALLER"
	program = "/run/caller" // this program, where any user can execute it
)

// TestMain runs the tests in a mount namespace of their own, where cgroup2 is
// at its place and /run is empty. The same program is also a service's child
// before it executes, and a caller of the socket.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == proc.ChildName:
		os.Exit(proc.Child())
	case os.Getenv(caller) != "":
		os.Exit(call(os.Getenv(caller), os.Args[1:]))
	case os.Getenv(inside) != "":
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "furnish namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case os.Getuid() != 0:
		fmt.Println("skipped: namespaces, cgroups and other users need root")
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range []mount.Mount{
		{Source: "cgroup2", Target: cgroup.Root, Type: "cgroup2"},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Data: "mode=0755"},
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(program, self, 0o755)
}

// call is the caller's side: with the argument "all" it tries every call, else
// it makes connections as the argument says, and prints what came of them.
func call(path string, args []string) int {
	switch args[0] {
	case "all":
		for _, c := range control.Calls {
			fmt.Println(c, outcome(path, c))
		}
	case "dial":
		_, err := control.Dial(context.Background(), path)
		fmt.Println(control.CodeOf(err), err)
	case "flood": // as fast as it goes, until standard output is closed
		var held []*seqpacket.Conn
		for n := 0; ; n++ {
			c, err := seqpacket.Dial(path, limit)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			if held = append(held, c); len(held) > 100 {
				held[0].Close()
				held = held[1:]
			}
			if n%1000 == 999 {
				if _, err := fmt.Println(n); err != nil {
					return 0
				}
			}
		}
	}
	return 0
}

// outcome makes a call for a service that does not exist.
func outcome(path string, c control.Call) string {
	conn, err := seqpacket.Dial(path, limit)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	b, err := json.Marshal(control.Request{Version: control.Version, Call: c, Service: "absent"})
	if err != nil {
		return err.Error()
	}
	_ = conn.Send(b, limit) // one that is refused at once may be too late
	buf := make([]byte, control.MaxAnswer)
	n, err := conn.Receive(buf, limit)
	if errors.Is(err, unix.ECONNRESET) {
		n, err = conn.Receive(buf, limit)
	}
	if err != nil {
		return err.Error()
	}
	a, err := control.DecodeAnswer(buf[:n])
	switch {
	case err != nil:
		return err.Error()
	case a.Error != nil:
		return string(a.Error.Code)
	}
	return "ok"
}

// node is a supervisor with its socket.
type node struct {
	*supervise.Supervisor
	reaper *proc.Reaper
	server *Server
	path   string
	logDir string
	power  chan power.Action

	mu   sync.Mutex
	said []string
}

func service(t *testing.T, name, script string, annotations ...string) *spec.Service {
	t.Helper()
	extra := ""
	for _, a := range annotations {
		k, v, _ := strings.Cut(a, "=")
		extra += fmt.Sprintf(`,"holdfast.%s":%q`, k, v)
	}
	text := fmt.Sprintf(`{"process":{"args":["/bin/sh","-c",%q],"cwd":"/"},"linux":{"cgroupsPath":%q},"annotations":{"holdfast.timeout-stop":"5s"%s}}`,
		script, fmt.Sprintf("/system/operator-test-%d/%s", os.Getpid(), name), extra)
	s, err := spec.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, services ...*spec.Service) *node {
	t.Helper()
	n := &node{power: make(chan power.Action, 10), path: "/run/control.sock"}
	n.reaper = reaper(t)
	n.logDir = t.TempDir()
	began := time.Now()
	var err error
	n.Supervisor, err = supervise.New(supervise.Config{
		Services: services, Reaper: n.reaper, LogDir: n.logDir, Now: func() time.Duration { return time.Since(began) },
		Changed: func([]status.Service) {}, Say: n.say, Fault: n.say, Pet: func() {}, PetEvery: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.server, err = Listen(Config{Path: n.path, Group: control.GroupReader, Supervisor: n.Supervisor, Say: n.say,
		Power: func(a power.Action) { n.power <- a }})
	if err != nil {
		t.Fatal(err)
	}
	down, ended := make(chan struct{}, 2), make(chan struct{})
	go func() { n.Run(down, limit); close(ended) }()
	t.Cleanup(func() {
		down <- struct{}{}
		<-ended
		if err := n.server.Close(limit); err != nil {
			t.Error(err)
		}
		for _, s := range services {
			os.Remove(filepath.Join(cgroup.Root, s.Cgroup()))
			os.Remove(filepath.Dir(filepath.Join(cgroup.Root, s.Cgroup())))
		}
		os.RemoveAll("/run/holdfast")
		if t.Failed() {
			t.Log(strings.Join(n.said, "\n"))
		}
	})
	return n
}

func (n *node) say(source, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = append(n.said, source+": "+text)
}

func (n *node) hasSaid(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.said, func(s string) bool { return strings.Contains(s, text) })
}

func reaper(t *testing.T) *proc.Reaper {
	r := proc.NewReaper()
	signals, stop := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, unix.SIGCHLD)
	go func() {
		for {
			select {
			case <-signals:
				r.Reap()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { signal.Stop(signals); close(stop) })
	return r
}

func (n *node) dial(t *testing.T) *control.Client {
	t.Helper()
	c, err := control.Dial(within(t), n.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// callAs runs this program as a caller: a user, in a control group if that is
// not empty.
func (n *node) callAs(t *testing.T, user specs.User, group string, args ...string) (output *os.File, end func() proc.Status) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := proc.Command{
		Plan: plan.Plan{
			Args: append([]string{program}, args...), Cwd: "/", Env: []string{caller + "=" + n.path},
			UID: user.UID, GID: user.GID, Groups: user.AdditionalGids,
		},
		Stdout: w, Stderr: w,
	}
	if group != "" {
		g, err := cgroup.Make(group)
		if err != nil {
			t.Fatal(err)
		}
		if c.Cgroup, err = g.Open(); err != nil {
			t.Fatal(err)
		}
		defer c.Cgroup.Close()
	}
	p, err := n.reaper.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return r, func() proc.Status {
		defer r.Close()
		st := <-p.Exit
		p.Close()
		if group != "" {
			os.Remove(filepath.Join(cgroup.Root, group))
		}
		return st
	}
}

func (n *node) outputAs(t *testing.T, user specs.User, group string, args ...string) string {
	t.Helper()
	r, end := n.callAs(t, user, group, args...)
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if st := end(); !st.OK() {
		t.Fatalf("%s: %s", st, text)
	}
	return string(text)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		select {
		case <-tick.C:
			if ok() {
				return
			}
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}
