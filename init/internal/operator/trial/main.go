// Command trial runs the real supervisor and control socket outside a node, for tests of programs that talk to them.
//
//	trial DIR
//
// Every NAME.json in DIR is a service. The socket is DIR/control.sock, where DIR is not below /run; what
// the machine is asked (reboot, power off) is printed and not done. It ends
// with its standard input.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/control"
	"holdfast/init/internal/guard"
	"holdfast/init/internal/operator"
	"holdfast/init/internal/proc"
	"holdfast/init/internal/supervise"
	"holdfast/init/spec"
	"holdfast/init/status"
	"holdfast/kernel/cgroup"
	"holdfast/kernel/mount"
	"holdfast/kernel/power"
)

const (
	inside = "HOLDFAST_TRIAL_INSIDE"
	limit  = 10 * time.Second
)

func main() {
	if os.Args[0] == proc.ChildName {
		os.Exit(proc.Child())
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "trial:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("expected a directory")
	}
	if os.Getenv(inside) == "" {
		return again(args)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range []mount.Mount{
		{Source: "cgroup2", Target: cgroup.Root, Type: "cgroup2"},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Data: "mode=0755"}, // sockets of services
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	services, err := load(args[0])
	if err != nil {
		return err
	}
	defer clean(services)
	return serve(args[0], services)
}

// again runs this program in a mount namespace of its own, with cgroup2 in place.
func again(args []string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

func load(dir string) ([]*spec.Service, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*spec.Service
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := spec.Parse(strings.TrimSuffix(filepath.Base(f), ".json"), data)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return spec.Order(all)
}

// serve runs until standard input ends.
func serve(dir string, services []*spec.Service) error {
	reaper, began := proc.NewReaper(), time.Now()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	guard.Go(func() {
		for range children {
			reaper.Reap()
		}
	})
	say := func(source, text string) { fmt.Fprintf(os.Stderr, "%s: %s\n", source, text) }
	s, err := supervise.New(supervise.Config{
		Services: services, Reaper: reaper, LogDir: filepath.Join(dir, "log"), Now: func() time.Duration { return time.Since(began) },
		Changed: func([]status.Service) {}, Say: say, Fault: say, Pet: func() {}, PetEvery: time.Minute,
	})
	if err != nil {
		return err
	}
	server, err := operator.Listen(operator.Config{
		Path: filepath.Join(dir, "control.sock"), Group: control.GroupReader, Supervisor: s, Say: say,
		Power: func(a power.Action) {
			fmt.Println("asked:", map[power.Action]string{power.Off: "power off", power.Reboot: "reboot"}[a])
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	down := make(chan struct{}, 2)
	guard.Go(func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		down <- struct{}{}
	})
	s.Run(down, limit)
	return server.Close(limit)
}

func clean(services []*spec.Service) {
	for _, s := range services {
		os.Remove(filepath.Join(cgroup.Root, s.Cgroup()))
		os.Remove(filepath.Dir(filepath.Join(cgroup.Root, s.Cgroup())))
	}
}
