// Package loopback brings the loopback interface up.
package loopback

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Up brings lo up; the kernel then gives it 127.0.0.1 and ::1 (SIOCSIFFLAGS, netdevice(7)).
func Up() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
