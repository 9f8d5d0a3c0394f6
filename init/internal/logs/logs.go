// Package logs keeps what services print: the newest lines in memory, more in rotated files, never holding a writer up.
//
// # Decisions
//
// The goroutine that reads a service's pipe only copies into memory; another
// writes files. When the disk is slower than the service, chunks are dropped
// and counted, so that neither the service nor PID 1 waits for a disk.
package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/init/internal/guard"
)

const (
	ringBytes  = 64 << 10 // newest output kept in memory, per service
	fileBytes  = 4 << 20  // a file is rotated once at this size: two files a service
	queueDepth = 64       // chunks that wait for the disk
	chunkBytes = 8 << 10
)

// Log is the output of one service across its restarts.
type Log struct {
	path    string
	queue   chan []byte
	dropped atomic.Int64
	written chan struct{} // closed when the writer has ended

	mu     sync.Mutex
	ring   []byte
	closed bool
}

// New makes a service's log; its files are dir/name.log and dir/name.log.1.
func New(dir, name string) *Log {
	l := &Log{path: filepath.Join(dir, name+".log"), queue: make(chan []byte, queueDepth), written: make(chan struct{})}
	guard.Go(l.write)
	return l
}

// Close writes what is queued and closes the file; it gives up at the limit.
// Later output reaches memory only.
func (l *Log) Close(limit time.Duration) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	select {
	case <-l.written:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("log %s was not written within %s", l.path, limit)
	}
}

// Attach copies r until its end, and closes it.
func (l *Log) Attach(r io.ReadCloser) {
	guard.Go(func() {
		defer r.Close()
		for {
			buf := make([]byte, chunkBytes)
			n, err := r.Read(buf)
			if n > 0 {
				l.add(buf[:n])
			}
			if err != nil {
				return
			}
		}
	})
}

func (l *Log) add(chunk []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring = append(l.ring, chunk...)
	if over := len(l.ring) - ringBytes; over > 0 {
		l.ring = append(l.ring[:0], l.ring[over:]...)
	}
	if l.closed {
		return
	}
	select {
	case l.queue <- chunk:
	default:
		l.dropped.Add(int64(len(chunk)))
	}
}

// Tail returns up to n of the newest lines.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	text := string(bytes.TrimRight(l.ring, "\n"))
	l.mu.Unlock()
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}

// Dropped counts the bytes that never reached a file.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// write moves the queue into files. A file that can't be written loses its
// chunk, counted; the next chunk tries again.
func (l *Log) write() {
	defer close(l.written)
	var f *os.File
	var size int64
	defer func() { f.Close() }() // a nil file says so, and that is all
	for chunk := range l.queue {
		if f != nil && size >= fileBytes {
			f.Close()
			f = nil
			if err := os.Rename(l.path, l.path+".1"); err != nil {
				l.dropped.Add(int64(len(chunk)))
				continue
			}
		}
		if f == nil {
			var err error
			if f, size, err = open(l.path); err != nil {
				l.dropped.Add(int64(len(chunk)))
				continue
			}
		}
		if n := l.dropped.Swap(0); n > 0 {
			chunk = append(fmt.Appendf(nil, "[%d bytes of output were dropped here]\n", n), chunk...)
		}
		n, err := f.Write(chunk)
		size += int64(n)
		if err != nil {
			l.dropped.Add(int64(len(chunk) - n))
			f.Close()
			f = nil
		}
	}
}

func open(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}
