package timed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/services/timed/ntp"
)

// around is a sample of an offset and its distance in milliseconds.
func around(offset, distance int) sample {
	return sample{
		source: fmt.Sprint(offset, "±", distance), stratum: 2,
		offset: time.Duration(offset) * time.Millisecond, distance: time.Duration(distance) * time.Millisecond,
	}
}

func TestAgree(t *testing.T) {
	for name, test := range map[string]struct {
		samples   []sample
		need      int
		trusted   bool
		low, high int    // where the offset must be, in milliseconds
		liars     int    // how many are left out
		err       string // or why there is none
	}{
		"nobody":                      {nil, 1, false, 0, 0, 0, "no server answers"},
		"one":                         {[]sample{around(70, 5)}, 1, false, 70, 70, 0, ""},
		"one of three":                {[]sample{around(70, 5)}, 2, true, 0, 0, 0, "only 1 of 1 servers that answer can be believed, 2 must agree"},
		"two agree":                   {[]sample{around(70, 5), around(74, 5)}, 2, false, 70, 74, 0, ""},
		"two touch":                   {[]sample{around(70, 5), around(80, 5)}, 2, false, 75, 75, 0, ""},
		"two of two disagree":         {[]sample{around(70, 5), around(90, 5)}, 1, true, 0, 0, 0, "servers disagree: at most 1 of 2"},
		"two of three disagree":       {[]sample{around(70, 5), around(90, 5)}, 2, true, 0, 0, 0, "only 1 of 2"},
		"a liar of three":             {[]sample{around(1, 5), around(86400000, 1), around(-1, 5)}, 2, false, -1, 1, 1, ""},
		"a precise liar of three":     {[]sample{around(0, 50), around(300, 1), around(10, 40)}, 2, false, 0, 10, 1, ""},
		"two liars of five":           {[]sample{around(0, 5), around(500, 5), around(2, 5), around(501, 5), around(1, 5)}, 2, false, 0, 2, 2, ""},
		"two pairs":                   {[]sample{around(0, 5), around(500, 5), around(2, 5), around(501, 5)}, 2, true, 0, 0, 0, "servers disagree: at most 2 of 4"},
		"three ways":                  {[]sample{around(0, 5), around(500, 5), around(-500, 5)}, 2, true, 0, 0, 0, "only 1 of 3"},
		"a wide one, two ways":        {[]sample{around(0, 100), around(-90, 10), around(90, 10)}, 2, false, 0, 0, 0, "in more than one way"},
		"a wide one, the nearer":      {[]sample{around(0, 200), around(3, 10), around(150, 10)}, 2, true, 0, 13, 1, ""},
		"a wide one says little":      {[]sample{around(900, 1000), around(0, 3), around(1, 3)}, 2, false, 0, 3, 0, ""},
		"the middle is not in common": {[]sample{around(0, 10), around(19, 10), around(10, 100)}, 2, false, 9, 10, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := agree(test.samples, test.need, test.trusted)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("%+v, %v, want an error with %q", e, err, test.err)
				}
				return
			}
			low, high := time.Duration(test.low)*time.Millisecond, time.Duration(test.high)*time.Millisecond
			if err != nil || e.offset < low || e.offset > high || len(e.liars) != test.liars {
				t.Errorf("%+v, %v, want an offset from %s to %s and %d liars", e, err, low, high, test.liars)
			}
			for _, s := range test.samples {
				in := s.low() <= e.offset && e.offset <= s.high()
				if in != slices.Contains(e.sources, s.source) {
					t.Errorf("%s: allows the offset: %v, sources %v", s.source, in, e.sources)
				}
			}
		})
	}
}

// TestOneLiarCannotMoveTheClock tries every place a liar can take beside two
// honest servers: the estimate stays within what these allow, or there is none.
func TestOneLiarCannotMoveTheClock(t *testing.T) {
	honest := []sample{around(3, 20), around(-4, 12)} // the true offset is 0
	for lie := -400; lie <= 400; lie++ {
		for _, width := range []int{1, 5, 30, 1000} {
			samples := append(slices.Clone(honest), around(lie, width))
			e, err := agree(samples, need(3), false)
			if err == nil && (e.offset < -17*time.Millisecond || e.offset > 23*time.Millisecond) {
				t.Fatalf("a server that says %d±%d moved the clock to %s", lie, width, e.offset)
			}
		}
	}
}

func TestAgreeOnLeap(t *testing.T) {
	with := func(leap uint8) sample { s := around(0, 5); s.leap = leap; return s }
	for want, leaps := range map[uint8][]uint8{
		ntp.LeapNone:   {ntp.LeapInsert, ntp.LeapNone},
		ntp.LeapInsert: {ntp.LeapInsert, ntp.LeapInsert, ntp.LeapNone},
		ntp.LeapDelete: {ntp.LeapDelete},
	} {
		var samples []sample
		for _, l := range leaps {
			samples = append(samples, with(l))
		}
		if e, err := agree(samples, 1, false); err != nil || e.leap != want {
			t.Errorf("%v: leap %d, %v, want %d", leaps, e.leap, err, want)
		}
	}
}

// TestLateSamples have a voice, but move the clock only when they are alone.
func TestLateSamples(t *testing.T) {
	late := around(40, 100)
	late.late = true
	if e, err := agree([]sample{late, around(1, 5), around(1, 5)}, 2, false); err != nil || e.late || e.offset != time.Millisecond || len(e.sources) != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := agree([]sample{late, late, around(1000, 5)}, 2, false); err != nil || !e.late || len(e.sources) != 2 {
		t.Errorf("%+v, %v", e, err)
	}
}

func FuzzAgree(f *testing.F) {
	f.Add([]byte{0, 5, 2, 5, 200, 1}, true)
	f.Fuzz(func(t *testing.T, b []byte, trusted bool) {
		var samples []sample
		for i := 0; i+1 < len(b) && i < 20; i += 2 {
			samples = append(samples, around(int(int8(b[i])), int(b[i+1])+1))
		}
		e, err := agree(samples, need(len(samples)), trusted)
		if err != nil {
			return
		}
		if 2*len(e.sources) <= len(samples) || len(e.sources)+len(e.liars) != len(samples) || e.bound < 0 {
			t.Fatalf("%v: %+v", samples, e)
		}
		for _, s := range samples {
			if in := s.low() <= e.offset && e.offset <= s.high(); !in && slices.Contains(e.sources, s.source) {
				t.Fatalf("%v: %s does not allow %s", samples, s.source, e.offset)
			}
		}
	})
}
