// Package inotify tells when a file comes into a directory, or leaves it (inotify(7)).
package inotify

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch is a watched directory.
type Watch struct{ f *os.File }

// Directory watches for files that are moved in, written, moved out or removed.
func Directory(path string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	const events = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, path, events); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return &Watch{f}, nil
}

// Next waits until something has happened since the last call. After Close it
// returns an error.
func (w *Watch) Next() error {
	buf := make([]byte, 4096) // many events come together; none is looked at
	_, err := w.f.Read(buf)
	return err
}

// Close ends the watch.
func (w *Watch) Close() error { return w.f.Close() }
