// Package notify tells the supervisor about this process with sd_notify(3).
//
// Beside systemd's READY and STATUS it speaks X_FAULT: something wrong that
// the service survived, one line that says what and where. The supervisor adds
// which service it was.
package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Socket is where the supervisor listens; the zero Socket says nothing to nobody.
type Socket struct{ addr *net.UnixAddr }

// FromEnvironment is the socket that the supervisor named in NOTIFY_SOCKET.
func FromEnvironment() Socket { return At(os.Getenv("NOTIFY_SOCKET")) }

// At is the socket at path, which begins with @ for an abstract one.
func At(path string) Socket {
	if path == "" {
		return Socket{}
	}
	return Socket{addr: &net.UnixAddr{Name: path, Net: "unixgram"}}
}

// Ready says that the service serves.
func (s Socket) Ready() error { return s.send("READY=1") }

// Status replaces the one line that describes the service.
func (s Socket) Status(format string, args ...any) error {
	return s.send("STATUS=" + line(format, args))
}

// Fault reports something wrong that the service survived.
func (s Socket) Fault(format string, args ...any) error {
	return s.send("X_FAULT=" + line(format, args))
}

// line keeps a text from becoming a second assignment.
func line(format string, args []any) string {
	return strings.Join(strings.FieldsFunc(fmt.Sprintf(format, args...), func(r rune) bool { return r < ' ' }), " ")
}

func (s Socket) send(state string) error {
	if s.addr == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, s.addr)
	if err != nil {
		return fmt.Errorf("notify supervisor: %w", err)
	}
	_, err = c.Write([]byte(state))
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("notify supervisor: %w", err)
	}
	return nil
}
