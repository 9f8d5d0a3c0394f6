// Package watchdog arms and pets the hardware or software watchdog (/dev/watchdog).
package watchdog

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watchdog is an armed watchdog. It is never closed in order: when its holder
// dies, the machine restarts.
type Watchdog struct {
	f       *os.File
	Timeout time.Duration // what the device granted
}

// Open arms the watchdog and asks for the timeout.
func Open(timeout time.Duration) (*Watchdog, error) {
	f, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	sec := int(timeout / time.Second)
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, sec); err != nil {
		sec, err = unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("read watchdog timeout: %w", err)
		}
	}
	if got, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil {
		sec = got
	}
	return &Watchdog{f, time.Duration(sec) * time.Second}, nil
}

// Pet restarts the watchdog's count.
func (w *Watchdog) Pet() error {
	_, err := w.f.Write([]byte{0})
	return err
}
