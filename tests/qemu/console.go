package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxLines bounds what a console keeps; a boot prints some hundreds of lines.
const maxLines = 1 << 17

// maxLine bounds one line, in bytes.
const maxLine = 4096

// Line is one line of the console, without terminal escape sequences.
type Line struct {
	N    int       // number of the line, from 0
	At   time.Time // host time at which its first byte came
	Text string
}

// console turns the bytes of a serial port into lines. Firmware and boot
// loader draw with escape sequences: one that moves the cursor or clears the
// screen ends a line, every other is dropped.
type console struct {
	mirror io.Writer // may be nil; gets each line with a newline

	mu      sync.Mutex
	lines   []Line
	partial []byte
	escape  []byte // an escape sequence that has not ended
	since   time.Time
	ended   bool
	changed chan struct{} // closed and replaced at every change
}

func newConsole(mirror io.Writer) *console {
	return &console{mirror: mirror, changed: make(chan struct{})}
}

// read feeds the console from r until r ends.
func (c *console) read(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.feed(buf[:n], time.Now())
		if err != nil {
			c.end()
			return
		}
	}
}

func (c *console) feed(b []byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range b {
		c.put(ch, now)
	}
	c.wake()
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.ended = true
	c.wake()
}

func (c *console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *console) put(ch byte, now time.Time) {
	switch {
	case len(c.escape) > 0:
		c.putEscape(ch)
	case ch == 0x1b:
		c.escape = append(c.escape, ch)
	case ch == '\n' || ch == '\r' || len(c.partial) == maxLine:
		c.flush()
	case ch == '\t' || ch >= ' ':
		if len(c.partial) == 0 {
			c.since = now
		}
		c.partial = append(c.partial, ch)
	}
}

// putEscape adds ch to the pending sequence: ESC [ parameters final, where
// parameters are 0x20 to 0x3f, or ESC and one more byte.
func (c *console) putEscape(ch byte) {
	c.escape = append(c.escape, ch)
	if len(c.escape) == 2 && ch == '[' {
		return
	}
	csi := c.escape[1] == '['
	if csi && ch >= 0x20 && ch < 0x40 && len(c.escape) < 32 {
		return
	}
	if csi && strings.IndexByte("HJABEFf", ch) >= 0 {
		c.flush()
	}
	c.escape = c.escape[:0]
}

// flush ends the line that is being received; an empty one is not kept.
func (c *console) flush() {
	text := strings.ToValidUTF8(strings.TrimRight(string(c.partial), " \t"), "?")
	c.partial = c.partial[:0]
	if text == "" || len(c.lines) == maxLines {
		return
	}
	c.lines = append(c.lines, Line{N: len(c.lines), At: c.since, Text: text})
	if c.mirror != nil {
		io.WriteString(c.mirror, text+"\n")
	}
}

// snapshot returns the lines from number n on, an unfinished one included, and
// what to wait for until there are more.
func (c *console) snapshot(n int) (lines []Line, ended bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines = append(lines, c.lines[min(n, len(c.lines)):]...)
	if text := string(c.partial); text != "" && n <= len(c.lines) {
		lines = append(lines, Line{N: len(c.lines), At: c.since, Text: text})
	}
	return lines, c.ended, c.changed
}

// ErrEnded says that the machine ended before what was waited for or asked.
var ErrEnded = errors.New("machine ended")

// wait returns the first line from number n on that re matches.
func (c *console) wait(ctx context.Context, n int, re *regexp.Regexp) (Line, error) {
	for {
		lines, ended, changed := c.snapshot(n)
		for i, line := range lines {
			if re.MatchString(line.Text) {
				return line, nil
			}
			if i < len(lines)-1 { // the last one may still grow
				n = line.N + 1
			}
		}
		if ended {
			return Line{}, fmt.Errorf("wait for console line %q: %w\n%s", re, ErrEnded, c.last(30))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, fmt.Errorf("wait for console line %q: %w\n%s", re, ctx.Err(), c.last(30))
		}
	}
}

// last renders the newest n lines, indented, for an error text.
func (c *console) last(n int) string {
	lines, _, _ := c.snapshot(0)
	if len(lines) == 0 {
		return "  (the console is empty)"
	}
	var b strings.Builder
	for _, line := range lines[max(0, len(lines)-n):] {
		fmt.Fprintf(&b, "  | %s\n", line.Text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
