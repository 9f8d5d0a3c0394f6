// Package seqpacket is UNIX sockets that keep message boundaries (unix(7), SOCK_SEQPACKET), with the kernel's word on who calls.
//
// # Decisions
//
// The kernel frames: a message arrives whole or not at all, so that there is
// no half-sent one to wait for, and one that is longer than the receiver's
// buffer is seen as such. Files that a peer attaches are never received: the
// kernel closes them.
//
// It does without package net, which costs PID 1 memory.
package seqpacket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTooLong is a message that did not fit the receiver's buffer; it is lost.
var ErrTooLong = errors.New("message is too long")

// backlog is how many callers may wait to be accepted; the others wait in
// connect(2).
const backlog = 64

// Listener is a listening socket.
type Listener struct {
	file
	path string
}

// Listen makes the socket file at path, in place of an older one, with an
// owner of root, a group and a mode. Nobody can connect before these are set.
func Listen(path string, gid int, mode os.FileMode) (*Listener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	l := &Listener{path: path}
	if err := l.open(fd, path); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return remove(path) },
		func() error { return unix.Fchmod(fd, 0) }, // bind(2) makes the file with the socket's mode
		func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) },
		func() error { return os.Chown(path, 0, gid) },
		func() error { return os.Chmod(path, mode) },
		func() error { return unix.Listen(fd, backlog) },
	} {
		if err := step(); err != nil {
			l.file.Close()
			return nil, fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	return l, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Accept waits for the next caller. After Close it returns os.ErrClosed.
func (l *Listener) Accept() (*Conn, error) {
	var fd int
	var acceptErr error
	err := l.raw.Read(func(s uintptr) bool {
		fd, _, acceptErr = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return acceptErr != unix.EAGAIN
	})
	if err := l.result(err, acceptErr); err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return wrap(fd)
}

// Close stops listening and removes the socket's file.
func (l *Listener) Close() error {
	err := remove(l.path)
	l.file.Close()
	return err
}

// Conn is one end of a connection. One goroutine may send while another
// receives.
type Conn struct{ file }

// file is an open socket that is waited for without a thread.
type file struct {
	f      *os.File
	raw    syscall.RawConn
	closed atomic.Bool
}

// open takes a socket that does not block over.
func (f *file) open(fd int, name string) (err error) {
	f.f = os.NewFile(uintptr(fd), name)
	if f.raw, err = f.f.SyscallConn(); err != nil {
		f.f.Close()
	}
	return err
}

// Close makes everything that waits for the socket return os.ErrClosed.
func (f *file) Close() {
	f.closed.Store(true)
	f.f.Close() // a socket has no error to tell here
}

// result is the error of an operation: the system call's, or the one that
// kept it from being made. RawConn has an error of its own for closed files.
func (f *file) result(rawErr, callErr error) error {
	switch {
	case rawErr != nil && f.closed.Load():
		return os.ErrClosed
	case rawErr != nil:
		return rawErr
	}
	return callErr
}

func wrap(fd int) (*Conn, error) {
	c := &Conn{}
	if err := c.open(fd, "seqpacket"); err != nil {
		return nil, err
	}
	return c, nil
}

// Dial connects. While the listener's backlog is full, it waits, up to limit.
func Dial(path string, limit time.Duration) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	wait := unix.NsecToTimeval(max(limit, time.Millisecond).Nanoseconds()) // 0 would be no limit
	for _, step := range []func() error{
		func() error { return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait) },
		func() error { return connect(fd, path, limit) },
		func() error { return unix.SetNonblock(fd, true) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("connect to %s: %w", path, err)
		}
	}
	return wrap(fd)
}

func connect(fd int, path string, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		switch {
		case err == unix.EINTR && time.Now().Before(deadline):
		case err == unix.EAGAIN || err == unix.EINTR:
			return fmt.Errorf("not accepted within %s: %w", limit, os.ErrDeadlineExceeded)
		default:
			return err
		}
	}
}

// Send sends one message; it waits up to limit for room in the socket.
func (c *Conn) Send(b []byte, limit time.Duration) error {
	if err := c.f.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return c.result(err, nil)
	}
	var sendErr error
	err := c.raw.Write(func(fd uintptr) bool {
		sendErr = send(fd, b)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err := c.result(err, sendErr); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// SendLast sends a message even to a peer that has left its socket full: the
// socket is given more room. It never waits, and gives up where even that
// fails.
func (c *Conn) SendLast(b []byte) error {
	var sendErr error
	err := c.raw.Control(func(fd uintptr) {
		if sendErr = send(fd, b); !errors.Is(sendErr, unix.EAGAIN) {
			return
		}
		size, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, size) // the kernel doubles it
		}
		if sendErr = err; err == nil {
			sendErr = send(fd, b)
		}
	})
	return c.result(err, sendErr)
}

func send(fd uintptr, b []byte) error {
	for {
		_, err := unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err
		}
	}
}

// Receive waits up to limit, or without one if that is 0, for a message; its
// end is io.EOF.
func (c *Conn) Receive(b []byte, limit time.Duration) (int, error) {
	var deadline time.Time
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	if err := c.f.SetReadDeadline(deadline); err != nil {
		return 0, c.result(err, nil)
	}
	var n, flags int
	var recvErr error
	err := c.raw.Read(func(fd uintptr) bool {
		n, _, flags, _, recvErr = unix.Recvmsg(int(fd), b, nil, unix.MSG_DONTWAIT)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	switch err := c.result(err, recvErr); {
	case err != nil:
		return 0, fmt.Errorf("receive: %w", err)
	case flags&unix.MSG_TRUNC != 0:
		return 0, ErrTooLong
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
