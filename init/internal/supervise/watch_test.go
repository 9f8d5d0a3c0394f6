package supervise

import (
	"context"
	"errors"
	"testing"

	"holdfast/init/control"
)

func event(n int) control.Event {
	return control.Event{Kind: control.EventState, Service: "a", PID: n}
}

func TestWatcherThatLagsLosesTheOldestAndIsTold(t *testing.T) {
	var all watchers
	w, other := newWatcher(nil), newWatcher(map[string]bool{"b": true})
	all.join(w)
	all.join(other)
	all.tell(event(-1)) // before it begins
	w.begin(control.Event{Kind: control.EventNow})
	other.begin()
	const n = 10 * watcherEvents
	for i := range n {
		all.tell(event(i))
	}
	if len(w.queue) > watcherEvents || len(other.queue) != 0 {
		t.Errorf("%d and %d events wait", len(w.queue), len(other.queue))
	}
	got, err := w.Next(context.Background())
	if err != nil || got[0].Kind != control.EventLost || got[0].Lost != n+1-(len(got)-1) {
		t.Fatalf("first of %d is %+v, %v", len(got), got[0], err)
	}
	for i, e := range got[1:] {
		if want := n - len(got) + 1 + i; e.PID != want {
			t.Fatalf("event %d is %d, want %d", i, e.PID, want)
		}
	}
	all.tell(event(n))
	if got, err := w.Next(context.Background()); err != nil || len(got) != 1 || got[0].PID != n {
		t.Errorf("the stream goes on with %+v, %v", got, err)
	}
	all.leave(w)
	all.tell(event(n + 1))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := w.Next(ended); !errors.Is(err, context.Canceled) || got != nil {
		t.Errorf("after it left: %+v, %v", got, err)
	}
}
