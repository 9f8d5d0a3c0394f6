package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"holdfast/init/internal/guard"
)

const (
	totalBytes = 64 << 20 // of all files, or a twentieth of a smaller volume
	totalShare = 20
	partMost   = 1 << 20
	partLeast  = 16 << 10
	partsMost  = 16 // files of one service
	blockBytes = 4 << 10

	memoryTotal = 8 << 20 // for what waits to be written, of all services
	memoryMost  = 1 << 20
	memoryLeast = 2 * keepBytes

	retryFirst = time.Second // after a write that failed
	retryMost  = 30 * time.Second
)

// Store keeps the logs of all services in one directory.
type Store struct {
	dir   string
	fault func(string)
	wake  chan struct{} // there is something to write
	ended chan struct{}
	files files // the writer's alone

	memory atomic.Int64 // how much of one stream may wait to be written

	mu      sync.Mutex
	logs    []*Log
	dirty   []*Log
	blocked bool  // until a timer ends that
	last    error // of the last write, if it failed
	retry   time.Duration
	closing bool
}

// New makes a store. Nothing is written before its directory is there. fault
// is told once when writing fails, until it works again.
func New(dir string, fault func(text string)) *Store {
	s := &Store{dir: dir, fault: fault, wake: make(chan struct{}, 1), ended: make(chan struct{}), retry: retryFirst}
	guard.Go(s.write)
	return s
}

// Log makes a service's log.
func (s *Store) Log(name string) *Log {
	l := &Log{store: s, name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, l)
	s.memory.Store(int64(min(max(memoryTotal/len(s.logs), memoryLeast), memoryMost)))
	return l
}

// wrote tells the writer of a log that has grown.
func (s *Store) wrote(l *Log) {
	if l.dirty.Swap(true) {
		return
	}
	s.mu.Lock()
	s.dirty = append(s.dirty, l)
	s.mu.Unlock()
	s.rouse()
}

func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Retry makes the writer try again now: the directory has come.
func (s *Store) Retry() {
	s.mu.Lock()
	s.blocked, s.retry = false, retryFirst
	s.mu.Unlock()
	s.rouse()
}

// Close writes all that services have printed, closes the files and writes no
// more; it gives up at the limit. Later output reaches memory only.
func (s *Store) Close(limit time.Duration) error {
	deadline := time.After(limit)
	inputs := s.inputs()
	for _, in := range inputs {
		in.ask()
	}
	for _, in := range inputs {
		select {
		case <-in.settled:
		case <-deadline:
			return fmt.Errorf("close logs: pipes were not read within %s", limit)
		}
	}
	s.mu.Lock()
	s.closing, s.blocked = true, false
	s.mu.Unlock()
	s.rouse()
	select {
	case <-s.ended:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.last != nil {
			return fmt.Errorf("close logs: %w", s.last)
		}
		return nil
	case <-deadline:
		return fmt.Errorf("close logs: not written within %s", limit)
	}
}

func (s *Store) inputs() (all []*input) {
	s.mu.Lock()
	logs := slices.Clone(s.logs)
	s.mu.Unlock()
	for _, l := range logs {
		l.mu.Lock()
		for in := range l.inputs {
			all = append(all, in)
		}
		l.mu.Unlock()
	}
	return all
}

// write is the writer.
func (s *Store) write() {
	defer close(s.ended)
	for range s.wake {
		dirty, last := s.due()
		for i, l := range dirty {
			l.dirty.Store(false)
			if err := s.flush(l); err != nil {
				s.failed(dirty[i:], err)
				break
			}
			s.worked()
		}
		if last {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		if l.file != nil {
			s.last = errors.Join(s.last, l.file.Close())
		}
	}
}

// due takes the logs that have grown.
func (s *Store) due() (dirty []*Log, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.blocked {
		dirty, s.dirty = s.dirty, nil
	}
	return dirty, s.closing
}

// failed puts logs back, and waits longer each time before the next try.
func (s *Store) failed(logs []*Log, err error) {
	s.mu.Lock()
	for _, l := range logs {
		if i := slices.Index(s.dirty, l); i < 0 {
			s.dirty = append(s.dirty, l)
		}
		l.dirty.Store(true)
	}
	first := s.last == nil || errors.Is(s.last, fs.ErrNotExist)
	s.last = err
	if !s.closing {
		s.blocked = true
		time.AfterFunc(s.retry, func() { guard.Run(s.unblock) })
	}
	s.retry = min(2*s.retry, retryMost)
	s.mu.Unlock()
	if first && !errors.Is(err, fs.ErrNotExist) { // until the state volume is there, that is as it should be
		s.fault("logs are kept in memory only: " + err.Error())
	}
}

func (s *Store) unblock() {
	s.mu.Lock()
	s.blocked = false
	s.mu.Unlock()
	s.rouse()
}

func (s *Store) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry, s.last = retryFirst, nil
}

// flush writes what a log has, in pieces of one segment.
func (s *Store) flush(l *Log) error {
	for {
		chunk, at, gap := l.unwritten()
		if len(chunk) == 0 {
			return nil
		}
		if err := s.place(l, at, gap); err != nil {
			return err
		}
		n, err := l.file.Write(chunk)
		if err != nil {
			n = l.tear(chunk[:n])
		}
		l.grew(n)
		if err != nil {
			return err
		}
	}
}

// place opens the file that a log's next byte belongs to: the newest part, or
// a new one when that is full or there is a gap.
func (s *Store) place(l *Log, at, gap int64) error {
	p, ok := l.newest()
	if ok && gap == 0 && p.head+p.size < s.partBytes() {
		if l.file != nil {
			return nil
		}
		return s.reopen(l, p)
	}
	if err := s.files.scan(s.dir); err != nil {
		return err
	}
	if l.file != nil {
		err := l.file.Close()
		l.file = nil
		if err != nil {
			return err
		}
	}
	s.files.sized(l.name, p)
	for _, gone := range s.files.makeRoom(l.name, s.partBytes()+segmentMost) {
		if err := os.Remove(s.path(gone.service, gone.part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.files.forget(gone)
		s.forget(gone)
	}
	return s.begin(l, part{boot: s.files.boot, number: p.number + 1, base: at}, gap)
}

func (s *Store) begin(l *Log, p part, gap int64) error {
	path := s.path(l.name, p)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	if gap > 0 {
		head := appendRecord(nil, stamp(time.Now()), Mark, []byte(lostText(gap)), nil)
		p.head = int64(len(head))
		if _, err := f.Write(head); err != nil {
			return errors.Join(err, f.Close(), os.Remove(path))
		}
	}
	l.file = f
	l.began(p)
	s.files.add(kept{service: l.name, part: p}, s.partBytes()+segmentMost) // the last write goes beyond
	return nil
}

// reopen goes on with a part after a failure.
func (s *Store) reopen(l *Log, p part) error {
	f, err := os.OpenFile(s.path(l.name, p), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	l.file = f
	return nil
}

func (s *Store) forget(k kept) {
	s.mu.Lock()
	i := slices.IndexFunc(s.logs, func(l *Log) bool { return l.name == k.service })
	s.mu.Unlock()
	if i >= 0 {
		s.logs[i].forget(k.boot, k.number)
	}
}

// partBytes is where a part ends: every service can have two.
func (s *Store) partBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(max(s.files.limit/int64(2*max(len(s.logs), 1)), partLeast), partMost)
}

func (s *Store) path(service string, p part) string {
	return filepath.Join(s.dir, fileName(service, p))
}

func fileName(service string, p part) string {
	return fmt.Sprintf("%s.%d.%d.log", service, p.boot, p.number)
}

// parseName is the reverse of fileName.
func parseName(name string) (kept, bool) {
	fields := strings.Split(name, ".")
	if len(fields) != 4 || fields[0] == "" || fields[3] != "log" {
		return kept{}, false
	}
	boot, err1 := strconv.ParseUint(fields[1], 10, 31)
	number, err2 := strconv.ParseUint(fields[2], 10, 31)
	k := kept{service: fields[0], part: part{boot: int(boot), number: int(number)}}
	return k, err1 == nil && err2 == nil && name == fileName(k.service, k.part)
}
