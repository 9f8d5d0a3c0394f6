package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/init/status"
)

// maxReport bounds one report, in bytes.
const maxReport = 1 << 20

// reports keeps the newest report of PID 1.
type reports struct {
	mu      sync.Mutex
	newest  *status.Report
	bad     error // the last line that was no report
	ended   bool
	changed chan struct{} // closed and replaced at every change
}

func newReports() *reports { return &reports{changed: make(chan struct{})} }

// read decodes lines from r until r ends.
func (s *reports) read(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxReport)
	for in.Scan() {
		s.line(in.Bytes())
	}
	s.change(func() { s.ended = true })
}

// line takes one report. A machine that was reset in the middle of a line
// leaves a torn one: it is remembered for error texts and passed over.
func (s *reports) line(b []byte) {
	var r status.Report
	err := json.Unmarshal(b, &r)
	s.change(func() {
		if s.bad = err; err == nil {
			s.newest = &r
		}
	})
}

func (s *reports) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait returns the first report, the newest one included, that ok accepts. On
// error it returns the newest report as well.
func (s *reports) wait(ctx context.Context, ok func(status.Report) bool) (status.Report, error) {
	for {
		s.mu.Lock()
		newest, bad, ended, changed := s.newest, s.bad, s.ended, s.changed
		s.mu.Unlock()
		if newest != nil && ok(*newest) {
			return *newest, nil
		}
		var err error
		if ended {
			err = ErrEnded
		} else {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if newest == nil {
			return status.Report{}, errors.Join(fmt.Errorf("wait for status: %w; none came", err), bad)
		}
		return *newest, fmt.Errorf("wait for status: %w; newest: %s", err, digest(*newest))
	}
}

// digest is a report in one line, for error texts.
func digest(r status.Report) string {
	text := "phase " + string(r.Phase)
	for _, s := range r.Services {
		text += fmt.Sprintf(", %s %s", s.Name, s.State)
		if s.Reason != "" {
			text += " (" + s.Reason + ")"
		}
	}
	for _, f := range r.Faults {
		text += fmt.Sprintf("; fault in %s: %s", f.Source, f.Text)
	}
	return text
}
