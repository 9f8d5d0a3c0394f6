package timed

import (
	"time"

	"holdfast/kernel/clock"
	"holdfast/services/timed/ntp"
)

// Limits of the discipline.
const (
	minPoll = 5  // log2 s, 32 s
	maxPoll = 11 // 34 min
	minPTP  = 4  // reading the hypervisor's clock costs nobody else anything
	maxPTP  = 8

	stepAtBoot   = 50 * time.Millisecond // a smaller offset is slewed even then
	firstRetry   = time.Second           // doubles while there was no synchronisation yet
	lastRetry    = time.Minute
	jumpRounds   = 4 // that must agree on a jump
	jumpInterval = 16 * time.Second
	jumpSpread   = 250 * time.Millisecond // how well they must agree
	goodRounds   = 3                      // in a row make the poll interval longer
	fastest      = 1000                   // 1/fastest: how fast a frequency can be wrong, twice what the kernel corrects
	fine         = time.Millisecond       // an offset that is small whatever the jitter
)

// discipline decides what happens to the clock. It has no clock of its own and
// does nothing: a round's estimate goes in, a correction and the time until
// the next round come out.
//
// Before the first synchronisation any offset is taken: from stepAtBoot on at
// once, a smaller one by slewing. Afterwards the clock is only slewed, except
// for a jump of more than the kernel slews: it must be seen by jumpRounds
// rounds in a row, which agree within jumpSpread, before the clock is stepped
// once more. Between two steps time never goes back.
type discipline struct {
	synced bool
	ptp    bool // the last estimate was the hypervisor's
	poll   int  // log2 s
	good   int  // rounds in a row with a small offset
	missed int  // rounds in a row without an estimate
	jumps  []time.Duration
	last   time.Duration // offset of the last round
	jitter time.Duration // moving average of its changes
}

// correction is what is to be done to the clock.
type correction struct {
	do      action
	offset  time.Duration
	loop    clock.Loop // for slew
	quality clock.Quality
}

type action int

const (
	hold action = iota
	slew
	step
)

// hear takes a round's estimate; now is in UTC.
func (d *discipline) hear(e estimate, ptp bool, now time.Time) correction {
	low, high := bounds(ptp)
	if d.ptp != ptp || d.poll == 0 {
		d.ptp, d.poll, d.good = ptp, low, 0
	}
	d.missed = 0
	c := correction{offset: e.offset, quality: clock.Quality{MaxError: e.bound, EstError: d.jitter, Leap: leapAt(e.leap, now)}}
	switch {
	case !d.synced && abs(e.offset) >= stepAtBoot, d.jumped(e.offset):
		*d = discipline{synced: true, ptp: ptp, poll: low}
		c.do, c.quality.EstError = step, 0
	case abs(e.offset) > clock.MaxSlew:
		c.do = hold
	default:
		d.synced, c.do = true, slew
		c.loop = clock.Loop{Offset: e.offset, Phase: abs(e.offset) > time.Second<<d.poll/fastest}
		d.adapt(e.offset, low, high)
		c.loop.Constant = max(d.poll-4, 0)
	}
	return c
}

func bounds(ptp bool) (low, high int) {
	if ptp {
		return minPTP, maxPTP
	}
	return minPoll, maxPoll
}

// jumped notes an offset that the kernel does not slew, and reports whether
// enough rounds have seen the same one.
func (d *discipline) jumped(offset time.Duration) bool {
	if abs(offset) <= clock.MaxSlew {
		d.jumps = nil
		return false
	}
	for _, j := range d.jumps {
		if abs(offset-j) > jumpSpread {
			d.jumps = nil
			break
		}
	}
	d.jumps = append(d.jumps, offset)
	return len(d.jumps) >= jumpRounds
}

// adapt makes the poll interval longer while offsets are no larger than their
// noise, and shorter when they are: then the frequency is not yet right.
func (d *discipline) adapt(offset time.Duration, low, high int) {
	d.jitter += (abs(offset-d.last) - d.jitter) / 4
	d.last = offset
	switch {
	case abs(offset) <= max(fine, 2*d.jitter):
		d.good++
		if d.good >= goodRounds {
			d.poll, d.good = min(d.poll+1, high), 0
		}
	case abs(offset) > max(4*fine, 4*d.jitter):
		d.poll, d.good = max(d.poll-1, low), 0
	default:
		d.good = 0
	}
}

// miss notes a round without an estimate.
func (d *discipline) miss() {
	d.missed++
	d.good, d.jumps = 0, nil
}

// wait is the time until the next round; jitter is from 0 to 1. Clients that
// started together do not stay together.
func (d *discipline) wait(jitter float64) time.Duration {
	var t time.Duration
	switch {
	case d.missed > 0 && !d.synced:
		t = min(firstRetry<<min(d.missed-1, 10), lastRetry)
	case d.missed > 0:
		t = time.Second << min(minPoll+d.missed-1, maxPoll-1)
	case len(d.jumps) > 0:
		t = jumpInterval
	default:
		t = time.Second << d.poll
	}
	return time.Duration(float64(t) * (0.9 + jitter/5))
}

// leapAt arms the kernel only on the last day of a month, at whose end every
// leap second is: the kernel inserts it at the end of the current day, and
// servers announce it up to a month ahead.
func leapAt(indicator uint8, now time.Time) clock.Leap {
	switch now = now.UTC(); {
	case now.AddDate(0, 0, 1).Day() != 1:
		return clock.None
	case indicator == ntp.LeapInsert:
		return clock.Insert
	case indicator == ntp.LeapDelete:
		return clock.Delete
	}
	return clock.None
}

func abs(d time.Duration) time.Duration { return max(d, -d) }
