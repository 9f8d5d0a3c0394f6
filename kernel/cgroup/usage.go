package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a group and those below it use. What its controllers do not
// count, or a group that is gone, is zero.
type Usage struct {
	Memory     int64 // bytes now (memory.current)
	MemoryPeak int64 // most bytes at once, since the group was made (memory.peak)
	CPU        time.Duration
}

// Read reads what the group at a path below Root uses now.
func Read(path string) (u Usage, err error) {
	g := Group{filepath.Join(Root, path)}
	if u.Memory, err = g.number("memory.current"); err != nil {
		return Usage{}, err
	}
	if u.MemoryPeak, err = g.number("memory.peak"); err != nil {
		return Usage{}, err
	}
	usec, err := g.Event("cpu.stat", "usage_usec")
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return Usage{}, fmt.Errorf("read cgroup: %w", err)
	}
	u.CPU = time.Duration(usec) * time.Microsecond
	return u, nil
}

// number reads a file that holds one number. The group may end at any time:
// its files are then gone, or say ENODEV.
func (g Group) number(file string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read cgroup: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read cgroup: %s: %w", file, err)
	}
	return n, nil
}
