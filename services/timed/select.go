package timed

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"holdfast/services/timed/ntp"
)

// sample is one measurement of the clock against a source.
type sample struct {
	source   string // as configured, or the PTP clock's name
	address  netip.Addr
	offset   time.Duration // to add to the clock
	delay    time.Duration // round trip
	distance time.Duration // the true offset is at most this far away, if the source does not lie
	stratum  int
	leap     uint8
	late     bool // it took much longer than usual: good for a vote, not for an offset
}

func (s sample) low() time.Duration  { return s.offset - s.distance }
func (s sample) high() time.Duration { return s.offset + s.distance }

func (s sample) allows(r region) bool { return s.low() <= r.low && s.high() >= r.high }

// estimate is what enough sources agree on.
type estimate struct {
	offset  time.Duration
	bound   time.Duration // the true offset is at most this far away
	leap    uint8
	late    bool     // all samples are
	sources []string // who agrees
	liars   []sample // who does not
}

// need is how many of the configured servers must agree: two where there are
// three or more, so that one that lies is never believed alone.
func need(configured int) int {
	if configured >= 3 {
		return 2
	}
	return 1
}

var errNoAnswer = errors.New("no server answers")

// agree finds the offset that most sources allow (Marzullo's algorithm): each
// sample allows the interval of its distance around its offset. At least need
// samples and more than half of all must have a point in common. Where two
// such regions exist, a clock that was right before stays in the nearer one;
// without that nobody can tell which is true.
func agree(samples []sample, need int, trusted bool) (estimate, error) {
	if len(samples) == 0 {
		return estimate{}, errNoAnswer
	}
	best, count := regions(samples)
	switch {
	case count < need:
		return estimate{}, fmt.Errorf("only %d of %d servers that answer can be believed, %d must agree", count, len(samples), need)
	case 2*count <= len(samples):
		return estimate{}, fmt.Errorf("servers disagree: at most %d of %d have the same time", count, len(samples))
	case len(best) > 1 && !trusted:
		return estimate{}, fmt.Errorf("servers disagree: %d of %d have the same time, in more than one way", count, len(samples))
	}
	nearest := slices.MinFunc(best, func(a, b region) int { return cmp.Compare(a.away(), b.away()) })
	return nearest.estimate(samples), nil
}

// region is an interval of offsets.
type region struct{ low, high time.Duration }

func (r region) away() time.Duration { return max(r.low, -r.high, 0) }

// regions returns the intervals that the most samples allow, and how many do.
func regions(samples []sample) (best []region, count int) {
	type edge struct {
		at    time.Duration
		opens bool
	}
	var edges []edge
	for _, s := range samples {
		edges = append(edges, edge{s.low(), true}, edge{s.high(), false})
	}
	slices.SortFunc(edges, func(a, b edge) int { // intervals that touch have a point in common
		if c := cmp.Compare(a.at, b.at); c != 0 || a.opens == b.opens {
			return c
		}
		if a.opens {
			return -1
		}
		return 1
	})
	depth := 0
	for i, e := range edges {
		if !e.opens {
			depth--
			continue
		}
		depth++
		if depth > count {
			best, count = nil, depth
		}
		if depth == count { // the next edge closes, or else it would have been deeper
			best = append(best, region{e.at, edges[i+1].at})
		}
	}
	return best, count
}

// estimate weighs the samples that allow the region by their distance, and the
// late ones only where there are no others.
func (r region) estimate(samples []sample) estimate {
	e := estimate{late: true}
	for _, s := range samples {
		e.late = e.late && (s.late || !s.allows(r))
	}
	var sum, weights float64
	leaps := map[uint8]int{}
	for _, s := range samples {
		if !s.allows(r) {
			e.liars = append(e.liars, s)
			continue
		}
		leaps[s.leap]++
		e.sources = append(e.sources, s.source)
		if w := 1 / s.distance.Seconds(); !s.late || e.late {
			sum, weights = sum+w*s.offset.Seconds(), weights+w
		}
	}
	e.offset = min(max(time.Duration(sum/weights*float64(time.Second)), r.low), r.high)
	e.bound = max(r.high-e.offset, e.offset-r.low)
	for _, l := range []uint8{ntp.LeapInsert, ntp.LeapDelete} {
		if 2*leaps[l] > len(e.sources) {
			e.leap = l
		}
	}
	return e
}
