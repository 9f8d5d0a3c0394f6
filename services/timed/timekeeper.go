package timed

import (
	"time"

	"holdfast/kernel/clock"
	"holdfast/kernel/ptp"
)

// timekeeper is the clock that is kept: the kernel's, or one of a test's own.
type timekeeper interface {
	// At is what the clock shows when the kernel's shows t.
	At(t time.Time) time.Time
	Step(offset time.Duration, q clock.Quality) error
	Slew(l clock.Loop, q clock.Quality) error
	// Synced reports whether the last run left the clock synchronised.
	Synced() (bool, error)
}

type kernelClock struct{}

func (kernelClock) At(t time.Time) time.Time { return t }

func (kernelClock) Step(offset time.Duration, q clock.Quality) error { return clock.Step(offset, q) }

func (kernelClock) Slew(l clock.Loop, q clock.Quality) error { return clock.Slew(l, q) }

func (kernelClock) Synced() (bool, error) {
	s, err := clock.Read()
	return s.Synced, err
}

// hypervisor is the host's clock.
type hypervisor struct {
	name string
	read func() (ptp.Reading, error)
}

// sample measures the clock against the host's.
func (h *hypervisor) sample(k timekeeper) (estimate, error) {
	r, err := h.read()
	if err != nil {
		return estimate{}, err
	}
	return estimate{
		offset:  r.Device.Sub(k.At(r.System).Round(0)),
		bound:   r.Window/2 + time.Microsecond,
		sources: []string{h.name},
	}, nil
}
