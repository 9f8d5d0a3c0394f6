package timed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"holdfast/services/timed/ntp"
	"holdfast/services/timed/ntptest"
)

var built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func local(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(n)}) }

// servers starts servers at 127.0.0.1, 127.0.0.2 and so on, on one port.
func servers(t testing.TB, behave ...ntptest.Behaviour) (all []*ntptest.Server, port uint16) {
	t.Helper()
	for i, b := range behave {
		s, err := ntptest.Listen(fmt.Sprintf("%s:%d", local(i+1), port), b)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		all, port = append(all, s), s.Port()
	}
	return all, port
}

// ahead is a server's clock that differs from the machine's.
func ahead(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }

func here(t time.Time) time.Time { return t }

func TestAsk(t *testing.T) {
	forged := ntp.Packet{Version: 4, Mode: ntp.Server, Stratum: 1, Origin: 12345, Receive: 1 << 40, Transmit: 1 << 40}.Encode()
	change := func(f func(*ntp.Packet)) ntptest.Behaviour {
		return ntptest.Behaviour{Now: ahead(time.Hour), Change: f}
	}
	for name, test := range map[string]struct {
		behave ntptest.Behaviour
		offset time.Duration
		err    string
	}{
		"ahead":            {ntptest.Behaviour{Now: ahead(time.Hour)}, time.Hour, ""},
		"behind":           {ntptest.Behaviour{Now: ahead(-time.Hour)}, -time.Hour, ""},
		"second era":       {ntptest.Behaviour{Now: ahead(20 * 365 * 24 * time.Hour)}, 20 * 365 * 24 * time.Hour, ""},
		"forged first":     {ntptest.Behaviour{Now: ahead(time.Hour), Before: [][]byte{forged, nil, []byte("nonsense")}}, time.Hour, ""},
		"version 3":        {change(func(p *ntp.Packet) { p.Version = 3 }), time.Hour, ""},
		"no reference":     {change(func(p *ntp.Packet) { p.Reference = 0 }), time.Hour, ""},
		"before the build": {ntptest.Behaviour{Now: func() time.Time { return built.Add(-time.Hour) }}, 0, "before this release was built"},
		"rate":             {change(func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, [4]byte{'R', 'A', 'T', 'E'} }), 0, "kiss: RATE"},
		"bare kiss": {change(func(p *ntp.Packet) {
			*p = ntp.Packet{Leap: 3, Version: 4, Mode: ntp.Server, ReferenceID: [4]byte{'D', 'E', 'N', 'Y'}, Origin: p.Origin}
		}), 0, "kiss: DENY"},
		"not synchronised": {change(func(p *ntp.Packet) { p.Leap = ntp.LeapUnknown }), 0, "not synchronised"},
		"stratum 16":       {change(func(p *ntp.Packet) { p.Stratum = 16 }), 0, "not synchronised"},
		"version 1":        {change(func(p *ntp.Packet) { p.Version = 1 }), 0, "version 1"},
		"far root":         {change(func(p *ntp.Packet) { p.RootDispersion = ntp.ShortOf(2 * time.Second) }), 0, "too far away"},
		"largest root":     {change(func(p *ntp.Packet) { p.RootDelay, p.RootDispersion = 1<<32-1, 1<<32-1 }), 0, "too far away"},
		"stale":            {change(func(p *ntp.Packet) { p.Reference -= 48 * 3600 << 32 }), 0, "last corrected 48h"},
		"from the future":  {change(func(p *ntp.Packet) { p.Reference += 3600 << 32 }), 0, "in the future"},
		"backwards":        {change(func(p *ntp.Packet) { p.Transmit -= 1 << 32 }), 0, "not in order"},
		"no transmit time": {change(func(p *ntp.Packet) { p.Transmit = 0 }), 0, "not in order"},
		"too quick":        {change(func(p *ntp.Packet) { p.Transmit += 1 << 32 }), 0, "before the request"},
		"silent":           {ntptest.Behaviour{}, 0, "no answer within 3s"},
		"only forged":      {change(func(p *ntp.Packet) { p.Origin++ }), 0, "no answer within 3s"},
		"a client":         {change(func(p *ntp.Packet) { p.Mode = ntp.Client }), 0, "no answer within 3s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ntptest.Listen("127.0.0.1:0", test.behave)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			c := client{port: s.Port(), built: built, clock: here}
			got, err := c.ask(t.Context(), local(1))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("%+v, %v, want an error with %q", got, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if off := abs(got.offset - test.offset); off > got.distance || got.stratum != 2 || got.address != local(1) {
				t.Errorf("%+v, want an offset of %s within the distance", got, test.offset)
			}
		})
	}
}

func TestAskEnds(t *testing.T) {
	_, port := servers(t, ntptest.Behaviour{})
	c := client{port: port, built: built, clock: here}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ask(ctx, local(1)); err == nil {
		t.Error("an exchange outlived its context")
	}
	if _, err := c.ask(t.Context(), local(99)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody listens: %v, want the refusal", err)
	}
}

// TestDelayIsPartOfTheDistance: a server far away is right within its distance,
// however its delay is divided between the two ways.
func TestDelayIsPartOfTheDistance(t *testing.T) {
	_, port := servers(t, ntptest.Behaviour{Now: ahead(time.Hour), Delay: 300 * time.Millisecond})
	c := client{port: port, built: built, clock: here}
	s, err := c.ask(t.Context(), local(1))
	if err != nil {
		t.Fatal(err)
	}
	if s.delay < 300*time.Millisecond || s.distance < 150*time.Millisecond || abs(s.offset-time.Hour) > s.distance {
		t.Errorf("%+v", s)
	}
}

func TestPeer(t *testing.T) {
	now := noon
	p := &peer{name: "x", addresses: []netip.Addr{local(1), local(2)}}
	for i, pause := range []time.Duration{1, 2, 4, 8} {
		if p.heard(&sample{}, kiss("RATE"), now); p.gone || p.quiet.Sub(now) != pause*time.Minute {
			t.Errorf("kiss %d: quiet for %s", i+1, p.quiet.Sub(now))
		}
	}
	for range 100 {
		p.heard(&sample{}, kiss("RATE"), now)
	}
	if pause := p.quiet.Sub(now); pause < time.Hour || pause > 24*time.Hour {
		t.Errorf("after many kisses: quiet for %s", pause)
	}
	if p.heard(&sample{}, nil, now); p.kisses != 0 {
		t.Errorf("an answer: %d kisses", p.kisses)
	}
	if p.heard(&sample{}, errors.New("no answer"), now); len(p.addresses) != 1 || p.addresses[0] != local(2) {
		t.Errorf("after silence: %v, want the next address", p.addresses)
	}
	for _, k := range []kiss{"DENY", "RSTR"} {
		p := &peer{}
		if p.heard(&sample{}, k, now); !p.gone {
			t.Errorf("%s is not obeyed", k)
		}
	}
}

func TestSpikes(t *testing.T) {
	const ms = time.Millisecond
	var p peer
	for i, test := range []struct {
		delay time.Duration
		ok    bool
	}{{10 * ms, true}, {90 * ms, true}, {10 * ms, true}, {11 * ms, true}, {200 * ms, false}, {12 * ms, true}, {200 * ms, false}, {200 * ms, false}, {200 * ms, true}} {
		s := sample{delay: test.delay}
		if p.heard(&s, nil, noon); s.late == test.ok {
			t.Errorf("answer %d, after %s: late %v", i+1, test.delay, s.late)
		}
	}
	if len(p.delays) != window {
		t.Errorf("%d delays are remembered, want %d", len(p.delays), window)
	}
}

func TestLocate(t *testing.T) {
	p := &peer{name: "::1"}
	if err := p.locate(t.Context()); err != nil || len(p.addresses) != 1 || p.addresses[0] != netip.IPv6Loopback() {
		t.Errorf("%v, %v", p.addresses, err)
	}
	p = &peer{name: "localhost"}
	if err := p.locate(t.Context()); err != nil || len(p.addresses) == 0 || !p.addresses[0].IsLoopback() {
		t.Errorf("%v, %v", p.addresses, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = &peer{name: "nowhere.invalid"}
	if err := p.locate(ctx); err == nil || !strings.Contains(err.Error(), "find address") {
		t.Error(err)
	}
}

// FuzzMeasure: whatever a server sends, what is taken is in bounds.
func FuzzMeasure(f *testing.F) {
	good := ntp.Packet{Version: 4, Mode: ntp.Server, Stratum: 2, Receive: ntp.TimestampOf(noon), Transmit: ntp.TimestampOf(noon)}
	f.Add(good.Encode(), int64(0), int64(1000))
	f.Fuzz(func(t *testing.T, b []byte, sent, took int64) {
		p, err := ntp.Parse(b)
		if err != nil {
			return
		}
		at := built.Add(time.Duration(sent >> 2))
		s, err := measure(p, at, at.Add(time.Duration(took>>8)), built)
		if err != nil {
			return
		}
		if s.delay < 0 || s.distance < minDistance || s.distance > maxDistance || s.stratum < 1 || s.stratum > maxStratum {
			t.Fatalf("%+v", s)
		}
		if at.Add(s.offset).Before(built.Add(-maxDistance)) {
			t.Fatalf("offset %s leads to %s, before the build", s.offset, at.Add(s.offset))
		}
	})
}
