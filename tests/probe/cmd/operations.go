package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/kernel/dm"
	"holdfast/tests/probe"
)

// maxFile bounds what file reads, in bytes.
const maxFile = 16 << 20

type none struct{}

func file(v url.Values) (any, error) {
	info, err := os.Stat(v.Get("path"))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a device or a pipe could block the thread
		return nil, fmt.Errorf("read %s: not a regular file", v.Get("path"))
	}
	f, err := os.Open(v.Get("path"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	return probe.File{Content: content}, err
}

func write(v url.Values) (any, error) {
	return none{}, os.WriteFile(v.Get("path"), []byte(v.Get("content")), 0o644)
}

func remove(v url.Values) (any, error) { return none{}, os.Remove(v.Get("path")) }

func list(v url.Values) (any, error) {
	entries, err := os.ReadDir(v.Get("path"))
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func readlink(v url.Values) (any, error) {
	target, err := os.Readlink(v.Get("path"))
	return probe.Link{Target: target}, err
}

func stat(v url.Values) (any, error) {
	var st unix.Stat_t
	err := unix.Lstat(v.Get("path"), &st)
	return probe.Stat{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size,
		Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}, err
}

func statfs(v url.Values) (any, error) {
	var st unix.Statfs_t
	err := unix.Statfs(v.Get("path"), &st)
	size := uint64(st.Bsize)
	return probe.Statfs{Type: st.Type, Flags: st.Flags, TotalBytes: st.Blocks * size, FreeBytes: st.Bavail * size}, err
}

func mountOp(v url.Values) (any, error) {
	flags, err := strconv.ParseUint(v.Get("flags"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("flags: %q is not a number", v.Get("flags"))
	}
	return none{}, unix.Mount(v.Get("source"), v.Get("target"), v.Get("fstype"), uintptr(flags), v.Get("data"))
}

func unmount(v url.Values) (any, error) { return none{}, unix.Unmount(v.Get("target"), 0) }

func kill(v url.Values) (any, error) {
	pid, err := strconv.Atoi(v.Get("pid"))
	if err != nil || pid <= 0 {
		return nil, fmt.Errorf("pid: %q is not a process", v.Get("pid"))
	}
	sig, err := strconv.Atoi(v.Get("sig"))
	if err != nil {
		return nil, fmt.Errorf("sig: %q is not a number", v.Get("sig"))
	}
	return none{}, unix.Kill(pid, syscall.Signal(sig))
}

// eat answers, and then takes memory until somebody ends this program.
func eat(url.Values) (any, error) {
	const step = 16 << 20
	go func() {
		var err error
		for err == nil {
			_, err = unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		}
		fmt.Fprintln(os.Stderr, "probe: eat:", err)
	}()
	return none{}, nil
}

func dmTable(v url.Values) (any, error) {
	table, err := dm.Table(v.Get("name"))
	targets := []probe.Target{}
	for _, t := range table {
		targets = append(targets, probe.Target(t))
	}
	return targets, err
}
