package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/init/control"
	"holdfast/init/internal/logs"
	"holdfast/init/status"
)

var (
	// ErrUnknown is the error for a service that does not exist.
	ErrUnknown = errors.New("no such service")
	// ErrDown is the error for an order that comes too late.
	ErrDown = errors.New("the machine is going down")
	// ErrFailed is the error for an order that can't succeed any more.
	ErrFailed = errors.New("failed")
)

// Order is what an operator wants of a service.
type Order string

const (
	OrderStart   Order = "start"   // it shall run, and all that it needs
	OrderStop    Order = "stop"    // it shall end, after all that depends on it
	OrderRestart Order = "restart" // it shall end and start again; what depends on it runs on
)

// ask runs f in the loop and waits for what it returns.
func ask[T any](ctx context.Context, s *Supervisor, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	answer := make(chan result, 1)
	var none T
	select {
	case s.events <- func() { v, err := f(); answer <- result{v, err} }:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	select {
	case r := <-answer:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// List describes every service, in dependency order.
func (s *Supervisor) List(ctx context.Context) ([]status.Service, error) {
	return ask(ctx, s, func() ([]status.Service, error) { return s.list(), nil })
}

// Status describes one service.
func (s *Supervisor) Status(ctx context.Context, name string) (status.Service, error) {
	u, err := s.find(name)
	if err != nil {
		return status.Service{}, err
	}
	return ask(ctx, s, func() (status.Service, error) { return u.describe(), nil })
}

// Start gives the order to start, and returns when that is under way.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	return s.Do(ctx, OrderStart, name)
}

// Stop gives the order to stop, and returns when that is under way.
func (s *Supervisor) Stop(ctx context.Context, name string) error { return s.Do(ctx, OrderStop, name) }

// Restart gives the order to restart, and returns when that is under way.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	return s.Do(ctx, OrderRestart, name)
}

// Do gives an order, and returns when that is under way.
func (s *Supervisor) Do(ctx context.Context, o Order, name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	return s.give(ctx, o, u, func() {})
}

// DoWait gives an order and returns when it is fulfilled: the service is ready,
// or settled after a stop. It fails when that will not happen by itself any
// more.
func (s *Supervisor) DoWait(ctx context.Context, o Order, name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	w := newWatcher(u.needs(map[string]bool{}))
	s.watchers.join(w)
	defer s.watchers.leave(w)
	if err := s.give(ctx, o, u, func() { w.begin(s.event(control.EventNow, u)) }); err != nil {
		return err
	}
	for {
		events, _, err := w.take(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if done, err := fulfilled(o, name, State(e.State), e); done {
				return err
			}
		}
	}
}

// fulfilled judges an event about the service, or about one that it needs.
func fulfilled(o Order, name string, now State, e control.Event) (done bool, err error) {
	switch mine := e.Service == name; {
	case o == OrderStop && mine:
		return now == Stopped || now == Done || now == Failed, nil
	case mine && (now == Ready || now == Done):
		return true, nil
	case mine && (now == Failed || now == Stopped):
		return true, fmt.Errorf("%w: %s: %s", ErrFailed, now, e.Reason)
	case !mine && o != OrderStop && now == Failed:
		return true, fmt.Errorf("%w: it requires %s, which has failed: %s", ErrFailed, e.Service, e.Reason)
	}
	return false, nil
}

// give gives an order in the loop. given is called there right after it.
func (s *Supervisor) give(ctx context.Context, o Order, u *unit, given func()) error {
	orders := map[Order]func(*unit){OrderStart: s.want, OrderStop: (*unit).putDown, OrderRestart: s.again}
	_, err := ask(ctx, s, func() (struct{}, error) {
		if s.down {
			return struct{}{}, ErrDown
		}
		orders[o](u)
		given()
		return struct{}{}, nil
	})
	return err
}

// needs adds the names of a service and of all that it requires.
func (u *unit) needs(names map[string]bool) map[string]bool {
	names[u.Service.Name] = true
	for _, r := range u.requires {
		if !names[r.Service.Name] {
			r.needs(names)
		}
	}
	return names
}

// Watch subscribes to what happens from now on. The first events are the
// states of all services now.
func (s *Supervisor) Watch(ctx context.Context) (*Watcher, func(), error) {
	w := newWatcher(nil)
	s.watchers.join(w)
	leave := func() { s.watchers.leave(w) }
	_, err := ask(ctx, s, func() (struct{}, error) {
		now := make([]control.Event, 0, len(s.units))
		for _, u := range s.units {
			now = append(now, s.event(control.EventNow, u))
		}
		w.begin(now...)
		return struct{}{}, nil
	})
	if err != nil {
		leave()
		return nil, nil, err
	}
	return w, leave, nil
}

func (s *Supervisor) event(kind control.EventKind, u *unit) control.Event {
	e := control.Event{
		AtMs: s.Now().Milliseconds(), Kind: kind, Service: u.Service.Name, State: string(u.State), Reason: u.Reason,
	}
	if u.process != nil {
		e.PID = u.process.PID
	}
	return e
}

// Log returns a service's log.
func (s *Supervisor) Log(name string) (*logs.Log, error) {
	u, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return u.log, nil
}

// Cgroup returns the control group of a service.
func (s *Supervisor) Cgroup(name string) (string, error) {
	u, err := s.find(name)
	if err != nil {
		return "", err
	}
	return u.Service.Cgroup(), nil
}

func (s *Supervisor) find(name string) (*unit, error) {
	i := slices.IndexFunc(s.units, func(u *unit) bool { return u.Service.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return s.units[i], nil
}

// want takes a stop back. What has its oneshot's work done is not done again.
func (s *Supervisor) want(u *unit) {
	s.wantRequired(u)
	u.down = false
	s.step(u, Want, "")
}

func (s *Supervisor) wantRequired(u *unit) {
	for _, r := range u.requires {
		if !r.Satisfied() || r.down {
			s.want(r)
		}
	}
}

func (s *Supervisor) again(u *unit) {
	s.wantRequired(u)
	u.down = false
	s.step(u, Restart, "")
}

func (u *unit) putDown() {
	u.down = true
	for _, d := range u.dependents {
		if !d.down {
			d.putDown()
		}
	}
}
