// Package cgroup makes, limits, watches and kills control groups (cgroup v2).
//
// # Decisions
//
// A group that was killed is not used again, but replaced by a new one of the
// same name. Linux 6.14 to at least 6.18.15 compares the kill_seq of the group
// that a child is born in (CLONE_INTO_CGROUP) with that of its parent's group
// (kernel/cgroup/cgroup.c, cgroup_css_set_fork and cgroup_post_fork): once
// cgroup.kill was written, every child born into the group dies at once.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where cgroup2 is mounted.
const Root = "/sys/fs/cgroup"

// Init is PID 1's own group.
const Init = "/init"

// Group is a control group's directory.
type Group struct{ dir string }

// Make makes a group and its parents; each parent hands all its controllers
// down.
func Make(path string) (Group, error) {
	g := Group{Root}
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		if err := g.delegate(); err != nil {
			return Group{}, err
		}
		g.dir = filepath.Join(g.dir, part)
		if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return Group{}, fmt.Errorf("make cgroup: %w", err)
		}
	}
	return g, nil
}

func (g Group) delegate() error {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	var all []string
	for _, c := range strings.Fields(string(b)) {
		all = append(all, "+"+c)
	}
	return g.Set("cgroup.subtree_control", strings.Join(all, " "))
}

// Dir is the group's directory.
func (g Group) Dir() string { return g.dir }

// Set writes one of the group's files. One that the kernel does not have is
// not made: os.WriteFile would try, and say "permission denied".
func (g Group) Set(file, value string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("set cgroup: %w", err)
	}
	return nil
}

// Join moves a process into the group.
func (g Group) Join(pid int) error { return g.Set("cgroup.procs", strconv.Itoa(pid)) }

// Open opens the directory for SysProcAttr.CgroupFD.
func (g Group) Open() (*os.File, error) { return os.Open(g.dir) }

// Kill sends SIGKILL to every process in the group and below it.
func (g Group) Kill() error { return g.Set("cgroup.kill", "1") }

// Remove removes the group, which must have no processes, and those below it.
func (g Group) Remove() error {
	var dirs []string
	err := filepath.WalkDir(g.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// Populated tells whether a process lives in the group or below it. A group
// that is gone has none.
func (g Group) Populated() (bool, error) {
	n, err := g.Event("cgroup.events", "populated")
	return n != 0, err
}

// OOMKills counts the group's processes that the OOM killer ended.
func (g Group) OOMKills() (int64, error) { return g.Event("memory.events", "oom_kill") }

// Event reads one counter of a flat keyed file.
func (g Group) Event(file, key string) (int64, error) {
	f, err := os.Open(filepath.Join(g.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if k, v, ok := strings.Cut(s.Text(), " "); ok && k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, s.Err()
}

// Procs lists the processes of the group itself.
func (g Group) Procs() ([]int, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, s := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Of tells which group a process is in, as a path below Root.
func Of(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup v2", pid)
}

// Empty ends every process below a path: SIGTERM to all, cgroup.kill at the
// limit. It returns how many had to be killed. A group that does not exist is
// empty.
func Empty(path string, limit time.Duration) (killed int, err error) {
	g := Group{filepath.Join(Root, path)}
	pids, err := g.tree()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGTERM) // one that has ended meanwhile is what we want
	}
	if ok, err := g.WaitEmpty(limit); ok || err != nil {
		return 0, err
	}
	if pids, err = g.tree(); err != nil {
		return 0, err
	}
	if err := g.Kill(); err != nil {
		return 0, err
	}
	if ok, err := g.WaitEmpty(limit); !ok {
		return len(pids), errors.Join(err, fmt.Errorf("cgroup %s still has processes %s after SIGKILL", path, limit))
	}
	return len(pids), nil
}

// tree lists the processes of the group and all below it.
func (g Group) tree() ([]int, error) {
	var all []int
	err := filepath.WalkDir(g.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.IsDir() {
			return err
		}
		pids, err := Group{path}.Procs()
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		all = append(all, pids...)
		return nil
	})
	return all, err
}

// WaitEmpty waits until no process lives in the group or below it; false: not
// within the limit.
func (g Group) WaitEmpty(limit time.Duration) (bool, error) {
	f, err := watch(filepath.Join(g.dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return false, err
	}
	for buf := make([]byte, 1024); ; {
		full, err := g.Populated()
		if err != nil || !full {
			return err == nil, err
		}
		if _, err := f.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
}

// watch opens an inotify file that can be read when a file changes.
func watch(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return f, nil
}

// Children lists the groups right below a path.
func Children(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(Root, path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	return out, nil
}
