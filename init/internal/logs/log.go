package logs

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// keepBytes stay in memory once they are written: the last words for the
// console, and a reader that follows need no disk.
const keepBytes = 16 << 10

// Log is the output of one service across its restarts.
type Log struct {
	store *Store
	name  string
	dirty atomic.Bool // in the writer's list
	file  *os.File    // the newest part; the writer's alone

	mu      sync.Mutex
	ring    ring
	parts   []part        // of this boot, oldest first
	written int64         // the position up to which there is nothing to write
	lost    int64         // bytes that never reached a file
	more    chan struct{} // closed when there is more to read
	room    chan struct{} // closed when the stream is not crowded any more
	inputs  map[*input]struct{}
	budget  budget
}

// part is a file that holds a stretch of the stream. size grows in the newest.
type part struct {
	boot, number int
	base         int64 // position of its first byte
	head         int64 // bytes in the file before that: a remark on what is lost
	size         int64
}

func (p part) end() int64 { return p.base + p.size }

// Tail returns up to n of the newest lines, fit for a console.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	at, found := l.ring.back(n)
	var lines []Line
	for b := l.ring.from(at); b != nil; b = l.ring.from(at) {
		more, _ := parseLines(b)
		lines, at = append(lines, more...), at+int64(len(b))
	}
	l.mu.Unlock()
	out := make([]string, 0, found)
	for _, line := range lines {
		out = append(out, line.String())
	}
	return out
}

// Dropped counts the bytes of output that never reached a file and never will.
func (l *Log) Dropped() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost + max(0, l.ring.first()-l.written)
}

// change adds to the stream, under the lock, and lets readers and the writer
// know.
func (l *Log) change(add func(now time.Time)) {
	l.mu.Lock()
	add(time.Now())
	l.ring.trim(l.written, keepBytes, l.store.memory.Load())
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	l.mu.Unlock()
	l.store.wrote(l)
}

// crowded tells, under the lock, whether what waits to be written may soon
// push itself out.
func (l *Log) crowded() bool { return l.ring.end-l.written > l.store.memory.Load()/2 }

// wait tells where the writer is, and of a crowded stream when it is not so any
// more.
func (l *Log) wait() (written int64, room <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.crowded() {
		return l.written, nil
	}
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.written, l.room
}

// advance moves on to what the writer has dealt with, under the lock.
func (l *Log) advance(to int64) {
	l.written = to
	if l.room != nil && !l.crowded() {
		close(l.room)
		l.room = nil
	}
}

// unwritten is what the writer should write next, and how much is lost before
// it.
func (l *Log) unwritten() (chunk []byte, at, gap int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = max(l.written, l.ring.first())
	return l.ring.from(at), at, at - l.written
}

// newest is the part that is being written.
func (l *Log) newest() (p part, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parts) == 0 {
		return part{}, false
	}
	return l.parts[len(l.parts)-1], true
}

// began notes a new part; what lies between it and the part before is lost.
func (l *Log) began(p part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = append(l.parts, p)
	l.lost += p.base - l.written
	l.advance(p.base)
}

// grew notes that the newest part has n more bytes.
func (l *Log) grew(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts[len(l.parts)-1].size += int64(n)
	l.advance(l.written + int64(n))
	l.ring.trim(l.written, keepBytes, l.store.memory.Load())
}

// tear ends a write that failed at a record's end, and returns how much of it
// counts. The rest is tried again.
func (l *Log) tear(written []byte) int {
	p, _ := l.newest()
	whole := bytes.LastIndexByte(written, '\n') + 1
	err := l.file.Truncate(p.head + p.size + int64(whole))
	_ = l.file.Close() // the write's error is the one that counts
	l.file = nil
	if err != nil {
		return len(written)
	}
	return whole
}

// forget drops a part whose file is gone.
func (l *Log) forget(boot, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.parts {
		if p.boot == boot && p.number == number {
			l.parts = append(l.parts[:i:i], l.parts[i+1:]...)
			return
		}
	}
}

func lostText(n int64) string { return fmt.Sprintf("%d bytes were lost here", n) }
