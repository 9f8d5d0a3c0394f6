package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Stamp makes the kernel note when each packet of a connection arrives
// (SO_TIMESTAMPNS, socket(7)): a busy machine may run the reader much later.
func Stamp(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("stamp arrivals: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("stamp arrivals: %w", err)
	}
	return nil
}

// StampSize is the room that Arrival's control message takes.
var StampSize = unix.CmsgSpace(16)

// Arrival reads when a packet arrived from its control messages.
func Arrival(control []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) == 16 { // struct timespec
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec)), true
		}
	}
	return time.Time{}, false
}
