// Package power restarts, powers off and syncs the machine.
package power

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Action is how the machine goes down.
type Action int

const (
	Off Action = iota
	Reboot
)

func (a Action) String() string {
	if a == Off {
		return "power off"
	}
	return "reboot"
}

// Do ends the machine at once; it returns only on failure.
func Do(a Action) error {
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if a == Reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	return fmt.Errorf("%s: %w", a, unix.Reboot(cmd))
}

// KeysAsSignal makes ctrl-alt-del send SIGINT to PID 1 instead of restarting
// the machine.
func KeysAsSignal() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }

// Sync writes all dirty data back and reports whether it ended in time. A
// sync that hangs on a dead disk goes on in the background.
func Sync(limit time.Duration) bool {
	done := make(chan struct{})
	go func() { unix.Sync(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
