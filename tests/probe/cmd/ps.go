package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/tests/probe"
)

// ticksPerSecond is USER_HZ, in which /proc/<pid>/stat counts on every x86.
const ticksPerSecond = 100

func processes(url.Values) (any, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := []probe.Process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := process(pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func process(pid int) (probe.Process, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return probe.Process{}, err
	}
	cgroup, err := os.ReadFile(dir + "cgroup")
	if err != nil {
		return probe.Process{}, err
	}
	p, err := parseStat(stat)
	p.CGroup = strings.TrimSpace(strings.TrimPrefix(string(cgroup), "0::"))
	return p, err
}

// parseStat reads /proc/<pid>/stat (proc_pid_stat(5)). The name, in brackets,
// may itself contain spaces and brackets.
func parseStat(b []byte) (probe.Process, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return probe.Process{}, fmt.Errorf("no name in %q", b)
	}
	p := probe.Process{Comm: string(b[open+1 : end])}
	rest := strings.Fields(string(b[end+1:])) // from field 3 on
	if len(rest) < 22 {
		return p, fmt.Errorf("too few fields in %q", b)
	}
	var start, pages int64
	for _, f := range []struct {
		text string
		to   *int64
	}{{rest[19], &start}, {rest[21], &pages}} {
		n, err := strconv.ParseInt(f.text, 10, 64)
		if err != nil {
			return p, fmt.Errorf("%q is not a number in %q", f.text, b)
		}
		*f.to = n
	}
	var err error
	if p.PID, err = strconv.Atoi(strings.TrimSpace(string(b[:open]))); err != nil {
		return p, err
	}
	p.PPID, err = strconv.Atoi(rest[1])
	p.StartMs = start * 1000 / ticksPerSecond
	p.RSSKiB = pages * int64(os.Getpagesize()) / 1024
	return p, err
}
