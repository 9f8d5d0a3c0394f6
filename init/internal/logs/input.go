package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"holdfast/init/internal/guard"
	"holdfast/kernel/pipe"
)

const (
	readBytes  = 64 << 10 // read at once
	floodBurst = 8 << 20
	floodRate  = 4 << 20 // bytes a second
	floodPace  = 2 * time.Millisecond
	floodWait  = 100 * time.Millisecond
	floodPipe  = 1 << 20 // what a flood may print within floodPace before it waits
)

// budget is how much of a service's output is still looked at.
type budget struct {
	bytes int64
	at    time.Time
}

func (b *budget) take(n int, now time.Time) bool {
	if b.at.IsZero() {
		b.bytes, b.at = floodBurst, now
	}
	idle := min(now.Sub(b.at), floodBurst/floodRate*time.Second)
	if earned := idle.Microseconds() * floodRate / 1e6; earned > 0 {
		b.bytes, b.at = min(b.bytes+earned, floodBurst), now
	}
	if b.bytes < int64(n) {
		return false
	}
	b.bytes -= int64(n)
	return true
}

// buffers are shared by all inputs: one holds a buffer only while it reads.
var buffers = sync.Pool{New: func() any { return new([readBytes]byte) }}

// input is a pipe that some processes of a service print into. One goroutine,
// copy's, owns it, but for what the lock covers.
type input struct {
	log     *Log
	f       *os.File
	partial []byte // a line that has no newline yet

	newest  *[readBytes]byte // of a flood: read, not looked at yet
	held    int              // bytes in newest
	skipped int64            // bytes before it that were dropped
	grown   bool
	stuck   int64 // where the writer did not move from for floodWait

	mu      sync.Mutex
	closing bool          // it shall read what there is, and say so
	settled chan struct{} // closed then, or at the end
	once    sync.Once
}

// Attach reads a pipe until its end, and closes it.
func (l *Log) Attach(r *os.File) {
	in := &input{log: l, f: r, stuck: -1, settled: make(chan struct{})}
	l.mu.Lock()
	if l.inputs == nil {
		l.inputs = map[*input]struct{}{}
	}
	l.inputs[in] = struct{}{}
	l.mu.Unlock()
	guard.Go(in.copy)
}

// progress is how far a read went.
type progress int

const (
	empty progress = iota // the pipe is
	again                 // there may be more
	flood                 // there was more than is looked at, or than the writer keeps up with
	end
)

func (in *input) copy() {
	defer in.done()
	conn, err := in.f.SyscallConn()
	if err != nil {
		return
	}
	for {
		in.arm()
		var p progress
		err := conn.Read(func(fd uintptr) bool {
			p = in.read(int(fd), floodPipe)
			return p != empty
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			in.release()
			if in.settling() && in.settle(conn) == end {
				return
			}
		case err != nil || p == end:
			return
		case p == flood:
			in.pause()
		}
	}
}

// arm sets when the wait for the pipe ends without it: at once to settle,
// soon to look at a flood's newest piece.
func (in *input) arm() {
	in.mu.Lock()
	defer in.mu.Unlock()
	var at time.Time
	switch {
	case in.closing:
		at = time.Unix(0, 1)
	case in.newest != nil:
		at = time.Now().Add(readBytes * time.Second / floodRate)
	}
	_ = in.f.SetReadDeadline(at) // fails only for a file that can't be waited for, and its Read says so
}

// read takes what the pipe holds, but not much more than most bytes.
func (in *input) read(fd int, most int) progress {
	buf, ok := buffers.Get().(*[readBytes]byte)
	if !ok {
		return end
	}
	defer func() { buffers.Put(buf) }()
	over := false
	for total := 0; total < most; {
		n, err := syscall.Read(fd, buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN && !over:
			return empty
		case err == syscall.EAGAIN:
			return flood
		case err != nil || n <= 0:
			return end
		}
		total += n
		if buf, over = in.take(buf, n); over {
			continue
		}
		if _, room := in.log.wait(); room != nil {
			return flood
		}
	}
	if over {
		return flood
	}
	return again
}

// take adds n bytes of buf to the stream, or keeps buf and gives another one
// back.
func (in *input) take(buf *[readBytes]byte, n int) (free *[readBytes]byte, over bool) {
	in.log.mu.Lock()
	ok := in.log.budget.take(n, time.Now())
	in.log.mu.Unlock()
	if ok {
		in.release()
		in.add(buf[:n])
		return buf, false
	}
	free = in.newest
	if free == nil {
		free = new([readBytes]byte)
	}
	in.skipped += int64(in.held)
	in.newest, in.held = buf, n
	return free, true
}

// release adds a flood's newest piece, from its first whole line on.
func (in *input) release() {
	if in.newest == nil {
		return
	}
	chunk, skipped := in.newest[:in.held], in.skipped
	if skipped > 0 {
		start := bytes.IndexByte(chunk, '\n') + 1
		chunk, skipped = chunk[start:], skipped+int64(start)
		in.finish()
		in.log.drop(skipped)
	}
	in.add(chunk)
	buffers.Put(in.newest)
	in.newest, in.held, in.skipped = nil, 0, 0
}

func (l *Log) drop(n int64) {
	text := fmt.Sprintf("%d bytes of output were dropped: more than %d MiB/s", n, floodRate>>20)
	l.change(func(now time.Time) {
		l.lost += n
		l.ring.append(stamp(now), Mark, []byte(text), nil)
	})
}

func (in *input) add(chunk []byte) {
	in.log.change(func(now time.Time) {
		at := stamp(now)
		for len(chunk) > 0 {
			line, rest, whole := bytes.Cut(chunk, []byte{'\n'})
			in.line(at, line, whole)
			chunk = rest
		}
		if len(in.partial) == 0 {
			in.partial = nil // an idle service keeps none
		}
	})
}

// line adds a line, or keeps the beginning of one, in pieces that fit.
func (in *input) line(at, text []byte, whole bool) {
	for len(in.partial)+len(text) > lineBytes {
		fits := lineBytes - len(in.partial)
		in.log.ring.append(at, Piece, in.partial, text[:fits])
		in.partial, text = in.partial[:0], text[fits:]
	}
	if !whole {
		in.partial = append(in.partial, text...)
		return
	}
	in.log.ring.append(at, Whole, in.partial, text)
	in.partial = in.partial[:0]
}

// finish adds a last line that has no newline.
func (in *input) finish() {
	if len(in.partial) > 0 {
		in.add([]byte{'\n'})
	}
}

// pause lets the pipe fill: reads become fewer and larger. Where the writer has
// to catch up, it is given more time, but not twice for nothing: a disk that
// hangs must not hold services up.
func (in *input) pause() {
	if !in.grown {
		in.grown = true
		_ = pipe.Grow(in.f, floodPipe) // it is as well with less
	}
	written, room := in.log.wait()
	if room == nil || written == in.stuck {
		<-time.After(floodPace)
		return
	}
	select {
	case <-room:
	case <-time.After(floodWait):
		in.stuck = written
	}
}

// settling tells whether somebody waits for what is in the pipe now.
func (in *input) settling() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closing
}

// settleReads bound how long an input settles whose service goes on printing.
const settleReads = 64

// settle reads what is in the pipe, and then goes on as before.
func (in *input) settle(conn syscall.RawConn) progress {
	p := again
	for n := 0; n < settleReads && (p == again || p == flood); n++ {
		if p == flood {
			in.pause()
		}
		if err := conn.Control(func(fd uintptr) { p = in.read(int(fd), floodPipe) }); err != nil {
			return end
		}
	}
	in.release()
	in.finish()
	in.mu.Lock()
	in.closing = false
	in.mu.Unlock()
	in.once.Do(func() { close(in.settled) })
	return p
}

// ask makes the input settle.
func (in *input) ask() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closing = true
	_ = in.f.SetReadDeadline(time.Unix(0, 1)) // fails only once it is closed: it has settled
}

func (in *input) done() {
	in.release()
	in.finish()
	in.log.mu.Lock()
	delete(in.log.inputs, in)
	in.log.mu.Unlock()
	in.f.Close()
	in.once.Do(func() { close(in.settled) })
}
