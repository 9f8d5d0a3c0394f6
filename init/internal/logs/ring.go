package logs

import "bytes"

const (
	segmentLeast = 1 << 10 // an idle service has one of these
	segmentMost  = 8 << 10
)

// ring is the newest end of a stream, in segments. A record is whole in one.
// Bytes that were once appended never change, so that a view of them needs no
// lock.
type ring struct {
	segments []segment // oldest first
	end      int64     // position after the newest byte
}

type segment struct {
	at int64 // position of its first byte
	b  []byte
}

func (r *ring) first() int64 {
	if len(r.segments) == 0 {
		return r.end
	}
	return r.segments[0].at
}

// append adds one record.
func (r *ring) append(stamp []byte, kind Kind, a, b []byte) {
	size := headBytes + len(a) + len(b) + 1
	last := len(r.segments) - 1
	if last < 0 || cap(r.segments[last].b)-len(r.segments[last].b) < size {
		room := segmentLeast
		if last >= 0 {
			room = min(2*cap(r.segments[last].b), segmentMost)
		}
		r.segments = append(r.segments, segment{r.end, make([]byte, 0, max(room, size))})
		last++
	}
	s := &r.segments[last]
	s.b = appendRecord(s.b, stamp, kind, a, b)
	r.end += int64(size)
}

// from views the bytes at a position, up to the end of their segment; none at
// the end of the stream. The position must not be before first.
func (r *ring) from(at int64) []byte {
	for _, s := range r.segments {
		if skip := at - s.at; skip < int64(len(s.b)) {
			return s.b[skip:len(s.b):len(s.b)]
		}
	}
	return nil
}

// trim drops the oldest segments: written ones beyond keep bytes, and others
// beyond most.
func (r *ring) trim(written, keep, most int64) {
	n := 0
	for ; n < len(r.segments)-1; n++ {
		next := r.segments[n+1].at
		size := r.end - r.segments[n].at
		if size <= most && (next > written || r.end-next < keep) {
			break
		}
	}
	if n > 0 {
		left := copy(r.segments, r.segments[n:])
		clear(r.segments[left:]) // or they would live on unseen
		r.segments = r.segments[:left]
	}
}

// back finds where the last n lines begin. found tells how many there are in
// the ring, if they are fewer.
func (r *ring) back(n int) (at int64, found int) {
	at = r.first()
	for i := len(r.segments) - 1; i >= 0; i-- {
		s := r.segments[i]
		offset, lines := backInto(s.b, n-found)
		if found += lines; found == n {
			return s.at + int64(offset), n
		}
	}
	return at, found
}

// backInto finds where the last n lines of b, which ends with a newline, begin.
func backInto(b []byte, n int) (offset, found int) {
	for offset = len(b); offset > 0 && found < n; found++ {
		offset = bytes.LastIndexByte(b[:offset-1], '\n') + 1
	}
	return offset, found
}
