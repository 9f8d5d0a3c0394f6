package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/logs"
)

// notifyDir holds one socket for each service. A socket of its own tells even
// a message whose sender has already ended apart from other services'.
const notifyDir = "/run/holdfast/notify"

const (
	maxMessage = 4096
	maxFaults  = 16 // in one message
)

// message is one datagram of sd_notify(3), with X_FAULT= as an extension: one
// line about something wrong that the service survived.
type message struct {
	pid    int
	ready  bool
	alive  bool // WATCHDOG=1
	status string
	faults []string
}

// notifySockets are the sockets of all services. One goroutine reads them: one
// for each service, with its buffer, cost 15 KiB a service.
type notifySockets struct {
	fd    int // of epoll: File.Fd would make it block
	epoll *os.File
	units map[int32]*unit // by file descriptor; not changed while receive runs
}

func newNotifySockets() (*notifySockets, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch notify sockets: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that a goroutine waits for it, and no thread
		unix.Close(fd)
		return nil, fmt.Errorf("watch notify sockets: %w", err)
	}
	return &notifySockets{fd, os.NewFile(uintptr(fd), "notify sockets"), map[int32]*unit{}}, nil
}

// listen makes a service's socket, which stays for good.
func (n *notifySockets) listen(u *unit) error {
	if err := os.MkdirAll(notifyDir, 0o755); err != nil {
		return err
	}
	u.notifyPath = filepath.Join(notifyDir, u.Service.Name)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open notify socket: %w", err)
	}
	readable := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) },
		func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: u.notifyPath}) },
		func() error { return os.Chmod(u.notifyPath, 0o600) },
		func() error { return os.Chown(u.notifyPath, int(u.Service.OCI.Process.User.UID), 0) },
		func() error { return unix.EpollCtl(n.fd, unix.EPOLL_CTL_ADD, fd, &readable) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return fmt.Errorf("prepare notify socket %s: %w", u.notifyPath, err)
		}
	}
	n.units[int32(fd)] = u
	return nil
}

// receive hands on every message, for good.
func (n *notifySockets) receive(to func(*unit, message)) {
	conn, err := n.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 16)
	buf, oob := make([]byte, maxMessage), make([]byte, 512)
	for {
		ready := 0
		err := conn.Read(func(fd uintptr) bool {
			ready, err = unix.EpollWait(int(fd), events, 0)
			return ready > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:ready] {
			if m, ok := read(int(e.Fd), buf, oob); ok {
				to(n.units[e.Fd], m)
			}
		}
	}
}

// read takes one message off a socket.
func read(fd int, buf, oob []byte) (message, bool) {
	size, oobSize, flags, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return message{}, false
	}
	pid, ok := sender(oob[:oobSize])
	if !ok || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return message{}, false
	}
	m := parseMessage(buf[:size])
	m.pid = pid
	return m, true
}

// sender reads the credentials that the kernel vouches for, and closes every
// file that came along: closing it is what BARRIER=1 waits for.
func sender(oob []byte) (pid int, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range msgs {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			pid, ok = int(cred.Pid), true
		}
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return pid, ok
}

func parseMessage(b []byte) message {
	var m message
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "READY":
			m.ready = value == "1"
		case "WATCHDOG":
			m.alive = value == "1"
		case "STATUS":
			m.status = logs.Printable(value)
		case "X_FAULT":
			if len(m.faults) < maxFaults {
				m.faults = append(m.faults, logs.Printable(value))
			}
		}
	}
	return m
}
