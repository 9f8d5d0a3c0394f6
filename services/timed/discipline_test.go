package timed

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/kernel/clock"
	"holdfast/services/timed/ntp"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestFirstOffsets(t *testing.T) {
	for _, test := range []struct {
		offset time.Duration
		synced bool
		want   action
	}{
		{0, false, slew},
		{stepAtBoot - 1, false, slew},
		{stepAtBoot, false, step},
		{-stepAtBoot, false, step},
		{36 * 365 * 24 * time.Hour, false, step},
		{-36 * 365 * 24 * time.Hour, false, step},
		{stepAtBoot, true, slew},
		{-clock.MaxSlew, true, slew},
		{clock.MaxSlew + 1, true, hold},
		{-time.Hour, true, hold},
	} {
		d := discipline{synced: test.synced}
		c := d.hear(estimate{offset: test.offset}, false, noon)
		if c.do != test.want || c.offset != test.offset || !d.synced {
			t.Errorf("%s, synchronised %v: %+v, synchronised %v", test.offset, test.synced, c, d.synced)
		}
	}
}

// TestFrequencyIsLeftAlone by an offset that no frequency can have made.
func TestFrequencyIsLeftAlone(t *testing.T) {
	for offset, want := range map[time.Duration]bool{
		0: false, 31 * time.Millisecond: false, -31 * time.Millisecond: false, 33 * time.Millisecond: true, -400 * time.Millisecond: true,
	} {
		d := discipline{synced: true}
		if c := d.hear(estimate{offset: offset}, false, noon); c.loop.Phase != want || c.loop.Offset != offset {
			t.Errorf("%s at a poll of 32 s: %+v, want only the phase: %v", offset, c.loop, want)
		}
	}
}

// TestJump: a clock that was right is stepped only when several rounds in a
// row say the same, and once.
func TestJump(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		offsets []time.Duration // math.MinInt64: no estimate
		want    []action
	}{
		"stays":        {[]time.Duration{9 * s, 9 * s, 9*s + jumpSpread, 9 * s, 0}, []action{hold, hold, hold, step, slew}},
		"passes":       {[]time.Duration{9 * s, 9 * s, 9 * s, 0, 9 * s}, []action{hold, hold, hold, slew, hold}},
		"wanders":      {[]time.Duration{9 * s, 8 * s, 7 * s, 6 * s, 5 * s, 4 * s}, []action{hold, hold, hold, hold, hold, hold}},
		"settles":      {[]time.Duration{7 * s, 9 * s, 9 * s, 9 * s, 9 * s}, []action{hold, hold, hold, hold, step}},
		"is forgotten": {[]time.Duration{9 * s, 9 * s, 9 * s, math.MinInt64, 9 * s, 9 * s}, []action{hold, hold, hold, hold, hold, hold}},
		"flips":        {[]time.Duration{9 * s, -9 * s, 9 * s, -9 * s, 9 * s}, []action{hold, hold, hold, hold, hold}},
	} {
		t.Run(name, func(t *testing.T) {
			d := discipline{synced: true}
			for i, offset := range test.offsets {
				if offset == math.MinInt64 {
					d.miss()
					continue
				}
				if c := d.hear(estimate{offset: offset}, false, noon); c.do != test.want[i] {
					t.Errorf("round %d: %v, want %v", i, c.do, test.want[i])
				}
			}
		})
	}
}

func TestWait(t *testing.T) {
	for name, test := range map[string]struct {
		d    discipline
		want time.Duration
	}{
		"first retry":       {discipline{missed: 1}, firstRetry},
		"third retry":       {discipline{missed: 3}, 4 * firstRetry},
		"hundredth retry":   {discipline{missed: 100}, lastRetry},
		"lost":              {discipline{synced: true, missed: 1, poll: 11}, 32 * time.Second},
		"lost for long":     {discipline{synced: true, missed: 100, poll: 11}, 1024 * time.Second},
		"jump":              {discipline{synced: true, poll: 11, jumps: []time.Duration{time.Hour}}, jumpInterval},
		"steady":            {discipline{synced: true, poll: 11}, 2048 * time.Second},
		"beside hypervisor": {discipline{synced: true, ptp: true, poll: 8}, 256 * time.Second},
	} {
		low, high := test.d.wait(0), test.d.wait(1)
		if low != test.want*9/10 || high != test.want*11/10 {
			t.Errorf("%s: from %s to %s, want %s by a tenth", name, low, high, test.want)
		}
	}
}

func TestLeapAt(t *testing.T) {
	for _, test := range []struct {
		day  string
		leap uint8
		want clock.Leap
	}{
		{"2026-06-30T00:00:00Z", ntp.LeapInsert, clock.Insert},
		{"2026-12-31T23:59:59Z", ntp.LeapDelete, clock.Delete},
		{"2028-02-29T12:00:00Z", ntp.LeapInsert, clock.Insert},
		{"2026-06-29T23:59:59Z", ntp.LeapInsert, clock.None}, // announced, but not for this day
		{"2026-07-01T00:00:00Z", ntp.LeapInsert, clock.None}, // still announced, but over
		{"2026-06-30T00:00:00Z", ntp.LeapNone, clock.None},
		{"2026-07-01T01:00:00+02:00", ntp.LeapInsert, clock.Insert}, // the day is UTC's
	} {
		now, err := time.Parse(time.RFC3339, test.day)
		if err != nil {
			t.Fatal(err)
		}
		if got := leapAt(test.leap, now); got != test.want {
			t.Errorf("%s, indicator %d: %v, want %v", test.day, test.leap, got, test.want)
		}
	}
}

// crystal is a clock that goes wrong by drift, kept by the kernel's loop as
// kernel/time/ntp.c has it (second_overflow, ntp_update_offset).
type crystal struct {
	error     float64 // s, of the clock against the truth
	drift     float64 // s/s, of the crystal
	frequency float64 // s/s, the loop's correction
	phase     float64 // s, still to be worked off
	constant  int
	reference float64 // when the loop last heard an offset; below 0: never
	now       float64
}

func (c *crystal) run(seconds float64) {
	for range int(seconds) {
		part := c.phase / float64(int(1)<<(2+c.constant))
		c.phase -= part
		c.error += c.drift + c.frequency + part
		c.now++
	}
}

func (c *crystal) apply(do correction) {
	switch do.do {
	case step:
		c.error += do.offset.Seconds()
		c.phase, c.reference = 0, -1
	case slew:
		c.constant = do.loop.Constant
		since := c.now - c.reference
		if c.reference < 0 || do.loop.Phase {
			since = 0
		}
		since = min(since, float64(int(1)<<(3+c.constant)))
		gain := float64(int(1) << (2 * (4 + c.constant)))
		c.frequency = min(max(c.frequency+do.offset.Seconds()*since/gain, -500e-6), 500e-6)
		c.phase, c.reference = do.offset.Seconds(), c.now
	}
}

// TestConverges: whatever a crystal does, the clock is soon right and stays
// right, it is never stepped again, and the servers are left in peace.
func TestConverges(t *testing.T) {
	for name, test := range map[string]struct {
		drift, noise, start float64
		ptp                 bool
		within              float64 // after the first hour
		rounds              int     // at most, in a day
	}{
		"good crystal, near servers": {2e-6, 100e-6, 0.02, false, 0.001, 90},
		"poor crystal, near servers": {100e-6, 100e-6, -0.04, false, 0.001, 120},
		"bad crystal, far servers":   {-300e-6, 3e-3, 10e6, false, 0.015, 200},
		"long ago":                   {20e-6, 1e-3, 1e9, false, 0.005, 120},
		"hypervisor":                 {-50e-6, 1e-6, -3600, true, 0.0001, 400},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			c := crystal{error: test.start, drift: test.drift, reference: -1}
			var d discipline
			rounds, steps, worst := 0, 0, 0.0
			for c.now < 24*3600 {
				offset := -c.error + random.NormFloat64()*test.noise
				do := d.hear(estimate{offset: time.Duration(offset * float64(time.Second)), bound: time.Millisecond}, test.ptp, noon)
				c.apply(do)
				rounds++
				if do.do == step {
					steps++
				}
				wait := d.wait(random.Float64()).Seconds()
				for range int(wait) {
					c.run(1)
					if c.now > 3600 {
						worst = max(worst, math.Abs(c.error))
					}
				}
			}
			wantSteps := 0
			if math.Abs(test.start) > stepAtBoot.Seconds() {
				wantSteps = 1
			}
			t.Logf("worst error after an hour %.6f s, %d rounds, %d steps, poll 2^%d", worst, rounds, steps, d.poll)
			if worst > test.within || rounds > test.rounds || steps != wantSteps {
				t.Errorf("want at most %.6f s, %d rounds and %d steps", test.within, test.rounds, wantSteps)
			}
		})
	}
}
