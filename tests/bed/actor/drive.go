package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"holdfast/tests/bed/wire"
)

const maxRequestLine = 1 << 20

// operations are what the driver does for a test.
var operations = map[string]func(wire.Request) (any, error){
	"read":      read,
	"write":     func(r wire.Request) (any, error) { return nil, os.WriteFile(r.Path, []byte(r.Text), 0o644) },
	"kill":      func(r wire.Request) (any, error) { return nil, syscall.Kill(r.PID, syscall.Signal(r.Signal)) },
	"processes": processes,
	"usage":     usage,
	"run":       runActor,
	"control":   callControl,
	"events":    collectEvents,
}

// drive takes requests until its port ends; it carries each out by itself.
func drive([]string) error {
	port, err := openPort()
	if err != nil {
		return err
	}
	term := terminated()
	if err := note("start"); err != nil {
		return err
	}
	if err := say("READY=1"); err != nil {
		return err
	}
	go func() {
		<-term
		os.Exit(0)
	}()
	var writing sync.Mutex
	in := bufio.NewScanner(port)
	in.Buffer(nil, maxRequestLine)
	for in.Scan() {
		var r wire.Request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			continue // torn by the end of the driver before
		}
		go func() {
			line := answer(r)
			writing.Lock()
			defer writing.Unlock()
			if _, err := port.Write(line); err != nil {
				fmt.Fprintln(os.Stderr, "actor: answer:", err)
			}
		}()
	}
	return in.Err()
}

// openPort finds the driver's virtio-serial port by its name.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == wire.Port {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no port %s", wire.Port)
}

func answer(r wire.Request) []byte {
	a := wire.Answer{ID: r.ID}
	do := operations[r.Op]
	var value any
	err := fmt.Errorf("no operation %q", r.Op)
	if do != nil {
		value, err = do(r)
	}
	if err == nil {
		a.Value, err = json.Marshal(value)
	}
	if err != nil {
		a.Error = err.Error()
		errors.As(err, &a.Errno)
	}
	line, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return append(line, '\n')
}

func read(r wire.Request) (any, error) {
	b, err := os.ReadFile(r.Path)
	return string(b), err
}

// runActor runs this program with other arguments, without a service's socket.
func runActor(r wire.Request) (any, error) {
	cmd := exec.Command("/proc/self/exe", r.Args...)
	cmd.Env = append(os.Environ(), notifySocket+"=")
	out, err := cmd.CombinedOutput()
	e := wire.Exit{Output: string(out)}
	if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
		e.Status, err = ee.ExitCode(), nil
	}
	return e, err
}

// processes lists all processes but the kernel's threads, which have no
// program and are children of process 2.
func processes(wire.Request) (any, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := []wire.Process{}
	for _, dir := range dirs {
		p, err := process(dir)
		if err != nil {
			continue // it has ended
		}
		if p.PID != 2 && p.PPID != 2 {
			all = append(all, p)
		}
	}
	return all, nil
}

func process(dir string) (p wire.Process, err error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, err
	}
	before, after, ok := strings.Cut(string(stat), " (")
	comm, rest, ok2 := strings.Cut(after, ") ")
	if !ok || !ok2 {
		return p, fmt.Errorf("%s/stat: %q", dir, stat)
	}
	if p.PID, err = strconv.Atoi(before); err != nil {
		return p, err
	}
	p.Comm = comm
	if _, err := fmt.Sscan(rest, &p.State, &p.PPID); err != nil {
		return p, err
	}
	group, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	p.Cgroup = strings.TrimPrefix(strings.TrimSpace(string(group)), "0::")
	return p, err
}

// usage reads what a process holds.
func usage(r wire.Request) (any, error) {
	dir := filepath.Join("/proc", strconv.Itoa(r.PID))
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil, err
	}
	var u wire.Usage
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "VmRSS":
			_, err = fmt.Sscan(value, &u.RSSKiB)
		case "Threads":
			_, err = fmt.Sscan(value, &u.Threads)
		}
		if err != nil {
			return nil, fmt.Errorf("%s/status: %w", dir, err)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	u.Files = len(files)
	return u, err
}
