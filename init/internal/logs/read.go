package logs

import (
	"context"
	"os"
	"time"
)

// Options say what to read of a log.
type Options struct {
	Lines    int       // the newest ones only; 0: all
	Since    time.Time // only lines from then on
	Follow   bool      // wait for more, until the context ends
	Previous bool      // not this boot, but the last one before it that has a log
}

const blockRead = 32 << 10

// Read hands lines on in order, some at a time. A reader that is slower than
// the log is told, by a Mark, how much it missed. What emit gets is valid
// during the call.
func (l *Log) Read(ctx context.Context, o Options, emit func([]Line) error) error {
	if o.Previous {
		old, err := l.previous()
		if err != nil || old == nil {
			return err
		}
		l, o.Follow = old, false
	}
	r := &reader{log: l, since: o.Since, emit: emit}
	defer r.close()
	until := r.start(o.Lines)
	for ctx.Err() == nil {
		more, err := r.step()
		if err != nil {
			return err
		}
		switch {
		case !o.Follow && (r.at >= until || more != nil):
			return r.finish()
		case more != nil:
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// reader goes through a stream.
type reader struct {
	log   *Log
	at    int64
	since time.Time
	last  time.Time
	emit  func([]Line) error
	rest  []byte // the beginning of a record
	file  *os.File
	open  part
	buf   []byte
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// start goes to where the last n lines begin; it returns where the stream ends.
func (r *reader) start(n int) (end int64) {
	l := r.log
	l.mu.Lock()
	first, end := l.ring.first(), l.ring.end
	at, found := l.ring.back(n)
	parts := append([]part(nil), l.parts...)
	l.mu.Unlock()
	if n == 0 {
		at = first
	}
	if r.at = at; n > 0 && found == n {
		return end
	}
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		p.size = min(p.size, first-p.base)
		if p.size <= 0 {
			continue
		}
		r.at = p.base
		if n == 0 {
			continue
		}
		if at, found = r.back(p, n, found); found == n {
			r.at = at
			break
		}
	}
	return end
}

// back finds where the last n lines begin, of which some were found after p.
func (r *reader) back(p part, n, found int) (at int64, _ int) {
	if !r.turn(p) {
		return p.base, found
	}
	for end := p.end(); end > p.base && found < n; {
		begin := max(p.base, end-blockRead)
		b := r.block(p, begin, end)
		if b == nil {
			return p.base, found
		}
		newlines := 0
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != '\n' || begin+int64(i) == p.end()-1 {
				continue
			}
			if newlines++; found+newlines == n {
				return begin + int64(i) + 1, n
			}
		}
		found, end = found+newlines, begin
	}
	if found < n {
		found++ // the part's first line
	}
	return p.base, found
}

// step hands one block on. At the end of the stream it returns what tells of
// more.
func (r *reader) step() (more <-chan struct{}, err error) {
	l := r.log
	l.mu.Lock()
	first := l.ring.first()
	if r.at >= first {
		b := l.ring.from(r.at)
		if b == nil {
			if l.more == nil {
				l.more = make(chan struct{})
			}
			more = l.more
		}
		l.mu.Unlock()
		return more, r.take(b)
	}
	p := covering(l.parts, r.at, first)
	l.mu.Unlock()
	if p.base > r.at {
		return nil, r.miss(p.base)
	}
	if !r.turn(p) {
		return nil, r.miss(min(p.end(), first))
	}
	b := r.block(p, r.at, min(p.end(), r.at+blockRead))
	if b == nil {
		return nil, r.miss(min(p.end(), first))
	}
	return nil, r.take(b)
}

// covering is the part that holds a position, or else stands for where the
// stream goes on after it.
func covering(parts []part, at, first int64) part {
	for _, p := range parts {
		if p.end() > at {
			p.base = min(p.base, first)
			return p
		}
	}
	return part{base: first}
}

// turn opens a part's file; false: it is gone.
func (r *reader) turn(p part) bool {
	if r.file != nil && r.open.boot == p.boot && r.open.number == p.number {
		return true
	}
	r.close()
	var err error
	r.file, err = os.Open(r.log.store.path(r.log.name, p))
	if err != nil {
		r.file = nil
		return false
	}
	r.open = p
	return true
}

// block reads a stretch of the stream; nil: it can't be read.
func (r *reader) block(p part, from, to int64) []byte {
	if r.buf == nil {
		r.buf = make([]byte, blockRead)
	}
	n, err := r.file.ReadAt(r.buf[:to-from], p.head+from-p.base)
	if n == 0 && err != nil {
		return nil
	}
	return r.buf[:n]
}

// take hands the complete records on.
func (r *reader) take(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r.at += int64(len(b))
	if len(r.rest) > 0 {
		b = append(r.rest, b...)
	}
	lines, rest := parseLines(b)
	if len(rest) > 2*recordBytes { // a damaged file
		lines, rest = append(lines, parseLine(rest)), nil
	}
	err := r.pass(lines)
	r.rest = append([]byte(nil), rest...)
	return err
}

// pass leaves out what is too old.
func (r *reader) pass(lines []Line) error {
	kept := lines[:0]
	for _, line := range lines {
		if line.Kind != Foreign {
			r.last = line.At
		}
		if !r.last.Before(r.since) {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return r.emit(kept)
}

// miss skips what is lost, and says so.
func (r *reader) miss(to int64) error {
	n := to - r.at + int64(len(r.rest))
	r.at, r.rest = to, nil
	return r.emit([]Line{{At: time.Now(), Kind: Mark, Text: []byte(lostText(n))}})
}

// finish hands on what a damaged file ends with.
func (r *reader) finish() error {
	if len(r.rest) == 0 {
		return nil
	}
	return r.pass([]Line{parseLine(r.rest)})
}

// previous is the log of an earlier boot: files only.
func (l *Log) previous() (*Log, error) {
	all, err := list(l.store.dir)
	if err != nil {
		return nil, err
	}
	now, running := l.newest()
	old := &Log{store: l.store, name: l.name}
	for _, k := range all {
		if k.service != l.name || running && k.boot >= now.boot {
			continue
		}
		if len(old.parts) > 0 && old.parts[0].boot != k.boot {
			old.parts, old.ring.end = nil, 0
		}
		k.base = old.ring.end
		old.parts = append(old.parts, k.part)
		old.ring.end += k.size
	}
	if len(old.parts) == 0 {
		return nil, nil
	}
	return old, nil
}
