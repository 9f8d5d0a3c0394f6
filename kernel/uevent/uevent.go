// Package uevent receives the kernel's device events (NETLINK_KOBJECT_UEVENT).
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one device event; Env holds DEVTYPE, DEVNAME, PARTN and the like.
type Event struct {
	Action, DevPath, Subsystem string
	Env                        map[string]string
}

// Listener receives events from the moment it is opened.
type Listener struct{ f *os.File }

// Listen opens the kernel's event group.
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind uevent socket: %w", err)
	}
	return &Listener{os.NewFile(uintptr(fd), "uevent")}, nil
}

// Next waits for an event until the deadline. Events lost in a burst
// (ENOBUFS) are reported as an event without an action: look again yourself.
func (l *Listener) Next(deadline time.Time) (Event, error) {
	if err := l.f.SetReadDeadline(deadline); err != nil {
		return Event{}, err
	}
	buf := make([]byte, 8192)
	n, err := l.f.Read(buf)
	if err != nil {
		if errors.Is(err, unix.ENOBUFS) {
			return Event{}, nil
		}
		return Event{}, err
	}
	return Parse(buf[:n])
}

// Close closes the socket.
func (l *Listener) Close() error { return l.f.Close() }

// Parse reads one message: "action@devpath", then KEY=value, each ended by NUL.
func Parse(msg []byte) (Event, error) {
	fields := strings.Split(string(bytes.TrimRight(msg, "\x00")), "\x00")
	action, path, ok := strings.Cut(fields[0], "@")
	if !ok {
		return Event{}, fmt.Errorf("uevent: %q is not action@devpath", fields[0])
	}
	e := Event{Action: action, DevPath: path, Env: make(map[string]string, len(fields))}
	for _, f := range fields[1:] {
		if k, v, ok := strings.Cut(f, "="); ok {
			e.Env[k] = v
		}
	}
	e.Subsystem = e.Env["SUBSYSTEM"]
	return e, nil
}
