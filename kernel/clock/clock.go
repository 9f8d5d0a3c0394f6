// Package clock reads, sets and disciplines the system's real-time clock: clock_settime(2), adjtimex(2) and packet timestamps.
//
// The discipline is the kernel's phase-locked loop (RFC 5905, appendix A.5.6;
// kernel/time/ntp.c). A caller measures an offset and hands it over; the
// kernel works the phase off within a time constant and corrects the frequency by what the offset says about it.
package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Leap is what happens at the end of the UTC day.
type Leap int

const (
	None   Leap = iota
	Insert      // 23:59:59 comes twice
	Delete      // 23:59:59 is left out
)

// Quality is what the kernel tells every program about the clock (adjtimex(2)).
type Quality struct {
	MaxError time.Duration // bound; the kernel lets it grow by 500 ppm until the next correction
	EstError time.Duration
	Leap     Leap
}

// MaxSlew is the largest offset that the phase-locked loop takes (MAXPHASE).
const MaxSlew = 500 * time.Millisecond

// State is the clock as the kernel has it.
type State struct {
	Synced    bool
	Offset    time.Duration // what is left of the last slew
	Frequency float64       // correction in parts per million
	Quality
}

// Set sets the clock.
func Set(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return fmt.Errorf("set clock to %s: %w", t, err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set clock to %s: %w", t.UTC().Format(time.RFC3339), err)
	}
	return nil
}

// Raise sets the clock to a moment that it has not reached, and says how far
// it was behind: 0 when it was not.
func Raise(to time.Time) (behind time.Duration, err error) {
	if behind = to.Round(0).Sub(time.Now().Round(0)); behind <= 0 {
		return 0, nil
	}
	return behind, Set(to)
}

// Step adds an offset to the clock at once.
func Step(offset time.Duration, q Quality) error {
	t := stepping(offset, q)
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("step clock by %s: %w", offset, err)
	}
	return nil
}

// Loop is what the phase-locked loop is to do with an offset.
type Loop struct {
	Offset   time.Duration // up to ±MaxSlew
	Constant int           // the phase is worked off in about 2^(2+Constant) s
	Phase    bool          // the offset says nothing about the frequency
}

// Slew hands an offset to the phase-locked loop. The first one after a Step
// leaves the frequency as it is in any case.
func Slew(l Loop, q Quality) error {
	t := slewing(l, q)
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("slew clock by %s: %w", l.Offset, err)
	}
	return nil
}

// Read returns the clock's state. It needs no privilege.
func Read() (State, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return State{}, fmt.Errorf("read clock state: %w", err)
	}
	return stateOf(t), nil
}

// stepping also leaves the loop: whatever offset it had in work belonged to
// the old time, and it starts anew with the next slew.
func stepping(offset time.Duration, q Quality) unix.Timex {
	t := described(q)
	t.Modes |= unix.ADJ_SETOFFSET
	sec := int64(offset / time.Second)
	nsec := int64(offset % time.Second)
	if nsec < 0 { // the kernel wants the fraction above zero
		sec, nsec = sec-1, nsec+int64(time.Second)
	}
	t.Time = unix.Timeval{Sec: sec, Usec: nsec}
	return t
}

func slewing(l Loop, q Quality) unix.Timex {
	t := described(q)
	t.Modes |= unix.ADJ_OFFSET | unix.ADJ_TIMECONST
	t.Status |= unix.STA_PLL
	if l.Phase {
		t.Status |= unix.STA_FREQHOLD
	}
	t.Offset = int64(min(max(l.Offset, -MaxSlew), MaxSlew))
	t.Constant = int64(l.Constant)
	return t
}

// described marks the clock as synchronised, in units of nanoseconds.
func described(q Quality) unix.Timex {
	t := unix.Timex{
		Modes:    unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		Maxerror: microseconds(q.MaxError),
		Esterror: microseconds(q.EstError),
	}
	switch q.Leap {
	case Insert:
		t.Status |= unix.STA_INS
	case Delete:
		t.Status |= unix.STA_DEL
	}
	return t
}

// microseconds rounds up: an error bound must not shrink.
func microseconds(d time.Duration) int64 { return int64((d + time.Microsecond - 1) / time.Microsecond) }

func stateOf(t unix.Timex) State {
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	s := State{
		Synced:    t.Status&unix.STA_UNSYNC == 0,
		Offset:    time.Duration(t.Offset) * unit,
		Frequency: float64(t.Freq) / (1 << 16),
		Quality: Quality{
			MaxError: time.Duration(t.Maxerror) * time.Microsecond,
			EstError: time.Duration(t.Esterror) * time.Microsecond,
		},
	}
	switch {
	case t.Status&unix.STA_INS != 0:
		s.Leap = Insert
	case t.Status&unix.STA_DEL != 0:
		s.Leap = Delete
	}
	return s
}
