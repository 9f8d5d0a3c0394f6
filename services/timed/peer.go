package timed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// peer is one configured server and what is known of it.
type peer struct {
	name      string
	addresses []netip.Addr // what the name stands for; the first one is asked
	delays    []time.Duration
	spikes    int       // in a row
	lies      int       // in a row
	kisses    int       // since the last answer
	quiet     time.Time // it is not asked before
	gone      bool      // it wants to be asked no more
}

const (
	window     = 8 // delays that are remembered
	maxSpikes  = 2 // in a row; a way that stays slow is taken as it is
	kissPause  = time.Minute
	maxKisses  = 10   // doublings: 17 h
	liesToTell = 3    // rounds; one may be a burst of traffic
	spikeRatio = 4    // times the least delay
	spikeFloor = fine // more than that
)

// locate finds the server's addresses unless they are known.
func (p *peer) locate(ctx context.Context) error {
	if len(p.addresses) > 0 {
		return nil
	}
	if a, err := netip.ParseAddr(p.name); err == nil {
		p.addresses = []netip.Addr{a}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", p.name)
	if err != nil {
		return fmt.Errorf("find address: %w", err)
	}
	for _, a := range found {
		p.addresses = append(p.addresses, a.Unmap())
	}
	return nil
}

// ask gets a sample; it belongs to one goroutine for the time.
func (p *peer) ask(ctx context.Context, c *client) (sample, error) {
	if err := p.locate(ctx); err != nil {
		return sample{}, err
	}
	s, err := c.ask(ctx, p.addresses[0])
	s.source = p.name
	return s, err
}

// heard draws the conclusions from an answer or its absence.
func (p *peer) heard(s *sample, err error, now time.Time) {
	var k kiss
	switch {
	case errors.As(err, &k) && k.final():
		p.gone = true
	case errors.As(err, &k):
		p.quiet = now.Add(kissPause << min(p.kisses, maxKisses))
		p.kisses++
	case err != nil && len(p.addresses) > 0:
		p.addresses = p.addresses[1:] // the next one, or what the name stands for by then
	case err == nil:
		p.kisses = 0
		s.late = p.spike(s.delay)
	}
}

// spike reports whether a packet took much longer than those before it. Its
// two ways are then most likely of different length, and the offset is wrong.
func (p *peer) spike(delay time.Duration) bool {
	known := p.delays
	p.delays = append(slices.Clone(known[max(0, len(known)-window+1):]), delay)
	if len(known) < 3 || delay <= spikeRatio*slices.Min(known)+spikeFloor {
		p.spikes = 0
		return false
	}
	p.spikes++
	return p.spikes <= maxSpikes
}
