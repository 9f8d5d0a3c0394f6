package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/init/internal/logs"
	"holdfast/init/status"
)

// ErrUnknown is the error for a service that does not exist.
var ErrUnknown = errors.New("no such service")

var errDown = errors.New("the machine is going down")

// ask runs f in the loop and waits for its answer.
func (s *Supervisor) ask(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	select {
	case s.events <- func() { answer <- f() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// List describes every service, in dependency order.
func (s *Supervisor) List(ctx context.Context) (list []status.Service, err error) {
	err = s.ask(ctx, func() error { list = s.list(); return nil })
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Start makes a service run, and all that it needs.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	return s.order(ctx, name, s.want)
}

// Stop ends a service, after all that depends on it.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	return s.order(ctx, name, (*unit).putDown)
}

// Restart ends a service and starts it again; what depends on it runs on.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	return s.order(ctx, name, func(u *unit) {
		u.down = false
		s.step(u, Restart, "")
	})
}

// Log returns a service's log.
func (s *Supervisor) Log(name string) (*logs.Log, error) {
	u, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return u.log, nil
}

func (s *Supervisor) order(ctx context.Context, name string, do func(*unit)) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	return s.ask(ctx, func() error {
		if s.down {
			return errDown
		}
		do(u)
		return nil
	})
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
	for _, r := range u.requires {
		if !r.Satisfied() || r.down {
			s.want(r)
		}
	}
	u.down = false
	s.step(u, Want, "")
}

func (u *unit) putDown() {
	u.down = true
	for _, d := range u.dependents {
		if !d.down {
			d.putDown()
		}
	}
}
