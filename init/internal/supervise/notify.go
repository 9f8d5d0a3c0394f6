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

type notifySocket struct {
	path string
	f    *os.File
}

func listen(name string, uid uint32) (*notifySocket, error) {
	if err := os.MkdirAll(notifyDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(notifyDir, name)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open notify socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) },
		func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) },
		func() error { return os.Chmod(path, 0o600) },
		func() error { return os.Chown(path, int(uid), 0) },
	} {
		if err := step(); err != nil {
			f.Close()
			return nil, fmt.Errorf("prepare notify socket %s: %w", path, err)
		}
	}
	return &notifySocket{path, f}, nil
}

// receive hands on every message until the socket is closed.
func (n *notifySocket) receive(to func(message)) {
	conn, err := n.f.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, maxMessage), make([]byte, 512)
	for {
		var size, oobSize, flags int
		var recvErr error
		err := conn.Read(func(fd uintptr) bool {
			size, oobSize, flags, _, recvErr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
			return recvErr != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if recvErr != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			continue
		}
		if pid, ok := sender(oob[:oobSize]); ok {
			m := parseMessage(buf[:size])
			m.pid = pid
			to(m)
		}
	}
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
