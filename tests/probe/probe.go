// Package probe lets a test look at a node from inside, through a privileged static pod that acts in the host's mount namespace.
//
// The pod's program is tests/probe/cmd. It offers single system calls and file
// reads over HTTP, never a shell or a program to run: the node has none, and a
// test of the node should not need one. Errors keep their errno, so that a test
// can say errors.Is(err, unix.EROFS).
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/init/control"
)

// Port is where the program listens on the node.
const Port = 9500

// Client talks to the program.
type Client struct {
	Addr string // host:port, such as qemu.VM.Addr(probe.Port)
}

// Failure is an operation's error as it travels.
type Failure struct {
	Errno syscall.Errno `json:"errno"` // 0: not a system call's
	Text  string        `json:"text"`
}

// File is the content of a regular file.
type File struct {
	Content []byte `json:"content"`
}

// Link is the target of a symbolic link.
type Link struct {
	Target string `json:"target"`
}

// Stat is what lstat(2) says about a path.
type Stat struct {
	Mode  uint32 `json:"mode"` // with the type bits
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Size  int64  `json:"size"`
	Major uint32 `json:"major"` // of the device that holds it
	Minor uint32 `json:"minor"`
}

// Statfs is what statfs(2) says about a path.
type Statfs struct {
	Type       int64  `json:"type"` // magic number
	Flags      int64  `json:"flags"`
	TotalBytes uint64 `json:"totalBytes"`
	FreeBytes  uint64 `json:"freeBytes"`
}

// Process is one process of the host.
type Process struct {
	PID     int    `json:"pid"`
	PPID    int    `json:"ppid"`
	Comm    string `json:"comm"`
	CGroup  string `json:"cgroup"`
	RSSKiB  int64  `json:"rssKiB"`
	StartMs int64  `json:"startMs"` // since boot
}

// Target is one line of a device-mapper device's table.
type Target struct {
	Start, Sectors uint64
	Type, Params   string
}

// File reads a regular file of at most 16 MiB.
func (c Client) File(ctx context.Context, path string) ([]byte, error) {
	f, err := call[File](ctx, c, "file", "path", path)
	return f.Content, err
}

// Text is File without surrounding white space, as /proc and /sys files are read.
func (c Client) Text(ctx context.Context, path string) (string, error) {
	b, err := c.File(ctx, path)
	return strings.TrimSpace(string(b)), err
}

// Write creates or replaces a file.
func (c Client) Write(ctx context.Context, path, content string) error {
	_, err := call[struct{}](ctx, c, "write", "path", path, "content", content)
	return err
}

// Remove removes a file or an empty directory.
func (c Client) Remove(ctx context.Context, path string) error {
	_, err := call[struct{}](ctx, c, "remove", "path", path)
	return err
}

// List names the entries of a directory.
func (c Client) List(ctx context.Context, path string) ([]string, error) {
	return call[[]string](ctx, c, "list", "path", path)
}

// Readlink reads a symbolic link.
func (c Client) Readlink(ctx context.Context, path string) (string, error) {
	l, err := call[Link](ctx, c, "readlink", "path", path)
	return l.Target, err
}

// Stat looks at a path without following a link.
func (c Client) Stat(ctx context.Context, path string) (Stat, error) {
	return call[Stat](ctx, c, "stat", "path", path)
}

// Statfs looks at the file system of a path.
func (c Client) Statfs(ctx context.Context, path string) (Statfs, error) {
	return call[Statfs](ctx, c, "statfs", "path", path)
}

// Mount calls mount(2) in the host's mount namespace.
func (c Client) Mount(ctx context.Context, source, target, fstype string, flags uintptr, data string) error {
	_, err := call[struct{}](ctx, c, "mount", "source", source, "target", target, "fstype", fstype,
		"flags", strconv.FormatUint(uint64(flags), 10), "data", data)
	return err
}

// Unmount calls umount2(2) in the host's mount namespace.
func (c Client) Unmount(ctx context.Context, target string) error {
	_, err := call[struct{}](ctx, c, "unmount", "target", target)
	return err
}

// Kill sends a signal to a process of the host.
func (c Client) Kill(ctx context.Context, pid int, sig syscall.Signal) error {
	_, err := call[struct{}](ctx, c, "kill", "pid", strconv.Itoa(pid), "sig", strconv.Itoa(int(sig)))
	return err
}

// Processes lists the processes of the host.
func (c Client) Processes(ctx context.Context) ([]Process, error) {
	return call[[]Process](ctx, c, "ps")
}

// Eat has the program take all the memory that it can get.
func (c Client) Eat(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, "eat")
	return err
}

// DMTable reads the active table of a device-mapper device.
func (c Client) DMTable(ctx context.Context, name string) ([]Target, error) {
	return call[[]Target](ctx, c, "dmtable", "name", name)
}

// Control makes a call over PID 1's control socket, for a service where the
// call is about one, and reads what it answers into out.
func (c Client) Control(ctx context.Context, name control.Call, service string, out any) error {
	raw, err := call[json.RawMessage](ctx, c, "control", "call", string(name), "service", service)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// TellTime makes the program an NTP server on the node's 127.0.0.1, whose clock
// is ahead of the node's as that is now. Setting the node's does not change it.
func (c Client) TellTime(ctx context.Context, ahead time.Duration) error {
	_, err := call[struct{}](ctx, c, "telltime", "ahead", ahead.String())
	return err
}

// Wait waits until the program answers, at most until ctx ends.
func (c Client) Wait(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.Text(attempt, "/proc/uptime")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the probe: %w; last: %w", ctx.Err(), err)
		}
	}
}

// call asks for one operation, with its parameters as name, value, name, value.
func call[T any](ctx context.Context, c Client, op string, params ...string) (out T, err error) {
	form := url.Values{}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Addr+"/"+op, strings.NewReader(form.Encode()))
	if err != nil {
		return out, fmt.Errorf("probe %s: %w", op, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, fmt.Errorf("probe %s: %w", op, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			return out, fmt.Errorf("probe %s: read answer: %w", op, err)
		}
		return out, nil
	}
	var f Failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return out, fmt.Errorf("probe %s: status %s", op, resp.Status)
	}
	if f.Errno == 0 {
		return out, fmt.Errorf("probe %s: %w", op, errors.New(f.Text))
	}
	return out, fmt.Errorf("probe %s: %s: %w", op, strings.Join(params, " "), f.Errno)
}
