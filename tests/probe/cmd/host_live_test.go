package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/tests/probe"
)

// namespace starts a process in a mount namespace of its own and returns its PID.
func namespace(t *testing.T) int {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a mount namespace needs root")
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

func client(t *testing.T, pid int) probe.Client {
	t.Helper()
	h, err := enter(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c := probe.Client{Addr: strings.TrimPrefix(server.URL, "http://")}
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMountsAreMadeInTheNamespace(t *testing.T) {
	ctx := t.Context()
	c := client(t, namespace(t))
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside")
	if err := c.Mount(ctx, "none", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Mount(ctx, "tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, inside, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := c.Text(ctx, inside); err != nil || text != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(inside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is seen outside of the namespace: %v", err)
	}
	if st, err := c.Statfs(ctx, dir); err != nil || st.Type != unix.TMPFS_MAGIC || st.TotalBytes != 64<<10 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := c.Mount(ctx, "", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, inside); !errors.Is(err, unix.EROFS) {
		t.Errorf("remove on a read-only file system: %v", err)
	}
	if names, err := c.List(ctx, dir); err != nil || !slices.Equal(names, []string{"inside"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := c.Unmount(ctx, dir); err != nil {
		t.Error(err)
	}
}

func TestProcessesAndSignals(t *testing.T) {
	ctx := t.Context()
	pid := namespace(t)
	c := client(t, pid)
	find := func() (probe.Process, bool) {
		all, err := c.Processes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(p probe.Process) bool { return p.PID == pid })
		if i < 0 {
			return probe.Process{}, false
		}
		return all[i], true
	}
	p, ok := find()
	if !ok || p.Comm != "sleep" || p.PPID != os.Getpid() || p.StartMs == 0 {
		t.Errorf("%+v, %v", p, ok)
	}
	if err := c.Kill(ctx, pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if p, ok := find(); !ok || p.RSSKiB == 0 {
			return
		}
	}
	t.Error("the process survived SIGKILL")
}

func TestFailuresKeepTheirErrno(t *testing.T) {
	ctx := t.Context()
	c := client(t, namespace(t))
	if _, err := c.Stat(ctx, "/no/such/path"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("stat: %v", err)
	}
	if _, err := c.Readlink(ctx, "/"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("readlink: %v", err)
	}
	if _, err := c.File(ctx, "/dev/zero"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("read a device: %v", err)
	}
	if st, err := c.Stat(ctx, "/etc/passwd"); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte("12 (a ) b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 250 4096 3 18446744073709551615"))
	if want := (probe.Process{PID: 12, PPID: 1, Comm: "a ) b", StartMs: 2500, RSSKiB: 3 * int64(os.Getpagesize()) / 1024}); err != nil || p != want {
		t.Errorf("%+v, %v, expected %+v", p, err, want)
	}
	for _, bad := range []string{"", "12 (a", "12 (a) S 1", "x (a) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 250 4096 3"} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}
