// Package pipe sizes pipes (pipe(7)).
package pipe

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Grow makes a pipe hold at least a number of bytes; a power of two is used
// whole. Root may go beyond /proc/sys/fs/pipe-max-size.
func Grow(f *os.File, sizeBytes int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = conn.Control(func(fd uintptr) {
		var size int
		if size, setErr = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); setErr == nil && size < sizeBytes {
			_, setErr = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, sizeBytes)
		}
	})
	if err = errors.Join(err, setErr); err != nil {
		return fmt.Errorf("size pipe: %w", err)
	}
	return nil
}
