package supervise

import (
	"context"
	"sync"

	"holdfast/init/control"
)

// watcherEvents is how many events may wait for a subscriber. Every service's
// state fits, and then some.
const watcherEvents = 512

// Watcher gets the events of one subscriber. The loop only puts them into a
// queue of fixed size: a subscriber that lags loses the oldest.
type Watcher struct {
	only  map[string]bool // services; nil: all
	wake  chan struct{}
	mu    sync.Mutex
	begun bool
	queue []control.Event
	lost  int
}

func newWatcher(only map[string]bool) *Watcher {
	return &Watcher{only: only, wake: make(chan struct{}, 1)}
}

// begin starts the subscription.
func (w *Watcher) begin(now ...control.Event) {
	w.mu.Lock()
	w.begun, w.queue = true, now
	w.mu.Unlock()
	w.rouse()
}

// put never blocks.
func (w *Watcher) put(e control.Event) {
	if w.only != nil && !w.only[e.Service] {
		return
	}
	w.mu.Lock()
	if w.begun {
		if len(w.queue) >= watcherEvents { // half at once: that is cheaper
			n := len(w.queue) / 2
			w.queue = w.queue[:copy(w.queue, w.queue[n:])]
			w.lost += n
		}
		w.queue = append(w.queue, e)
	}
	w.mu.Unlock()
	w.rouse()
}

func (w *Watcher) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take waits for events. lost tells how many are missing before them.
func (w *Watcher) take(ctx context.Context) (events []control.Event, lost int, err error) {
	for {
		w.mu.Lock()
		events, lost = w.queue, w.lost
		w.queue, w.lost = nil, 0
		w.mu.Unlock()
		if len(events) > 0 {
			return events, lost, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Next waits for events. Where some are missing, the first one says so.
func (w *Watcher) Next(ctx context.Context) ([]control.Event, error) {
	events, lost, err := w.take(ctx)
	if lost > 0 {
		events = append([]control.Event{{AtMs: events[0].AtMs, Kind: control.EventLost, Lost: lost}}, events...)
	}
	return events, err
}

// watchers are the subscribers. They come and go on their own goroutines.
type watchers struct {
	mu  sync.Mutex
	all map[*Watcher]struct{}
}

func (s *watchers) join(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*Watcher]struct{}{}
	}
	s.all[w] = struct{}{}
}

func (s *watchers) leave(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
}

func (s *watchers) tell(e control.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		w.put(e)
	}
}
