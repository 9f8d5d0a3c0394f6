package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/tests/bed/wire"
)

// Sizes and numbers of include/uapi/linux/fuse.h.
const (
	fuseInit      = 26
	inHeaderSize  = 40
	outHeaderSize = 16
	initOutSize   = 64
	fuseMajor     = 7
	fuseMinor     = 31
	maxRequest    = 1 << 20
)

// stuck mounts a file system that it serves itself, takes a request of its own
// and never answers it. Such a wait ends by no signal, SIGKILL included
// (request_wait_answer in fs/fuse/dev.c), and the server's file, whose close
// would end it, is open as long as the waiting thread lives. It also holds a
// file of the state volume open. With the argument "detached" the file system
// has no place in the tree any more, so that nobody can have it given up.
func stuck(args []string) error {
	ignoreTerm()
	if _, err := busyFile(); err != nil {
		return err
	}
	dir := filepath.Join(wire.Dir, "stuck")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("stuck", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := answerInit(fd); err != nil {
		return err
	}
	go func() {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		fmt.Fprintln(os.Stderr, "the wait ended:", err)
	}()
	if _, err := unix.Read(fd, make([]byte, maxRequest)); err != nil {
		return fmt.Errorf("take the request: %w", err)
	}
	if len(args) > 0 && args[0] == "detached" {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	if err := note("stuck"); err != nil {
		return err
	}
	if err := say("READY=1"); err != nil {
		return err
	}
	return linger()
}

// answerInit agrees on the protocol with the kernel.
func answerInit(fd int) error {
	request := make([]byte, maxRequest)
	n, err := unix.Read(fd, request)
	if err != nil {
		return fmt.Errorf("read first request: %w", err)
	}
	if n < inHeaderSize || binary.NativeEndian.Uint32(request[4:]) != fuseInit {
		return errors.New("the first request is not FUSE_INIT")
	}
	answer := make([]byte, outHeaderSize+initOutSize)
	binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
	copy(answer[8:16], request[8:16]) // unique
	out := answer[outHeaderSize:]
	binary.NativeEndian.PutUint32(out, fuseMajor)
	binary.NativeEndian.PutUint32(out[4:], fuseMinor)
	binary.NativeEndian.PutUint32(out[20:], 4096) // max_write
	binary.NativeEndian.PutUint32(out[24:], 1)    // time_gran
	if _, err := unix.Write(fd, answer); err != nil {
		return fmt.Errorf("answer FUSE_INIT: %w", err)
	}
	return nil
}
