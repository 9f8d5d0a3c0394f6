package timed

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"holdfast/kernel/clock"
	"holdfast/services/timed/ntp"
)

const (
	patience = 3 * time.Second // for one server's answer

	maxDistance = 1500 * time.Millisecond // MAXDIST of RFC 5905, for slow links half as much again
	minDistance = 2500 * time.Microsecond // half of MINDISP: servers are not as exact as they say
	maxAge      = 36 * time.Hour          // since the server's clock was last corrected
	maxStratum  = 15
)

// client asks servers.
type client struct {
	port  uint16
	built time.Time // no true time is before it
	clock func(time.Time) time.Time
}

// kiss is a server's kiss-o'-death: it wants to be asked less, or not at all.
type kiss string

func (k kiss) Error() string { return "server answers with a kiss: " + string(k) }

// final reports whether the server must not be asked again (RFC 5905, 7.4).
func (k kiss) final() bool { return k == "DENY" || k == "RSTR" }

// ask has one exchange with a server, within patience.
func (c *client) ask(ctx context.Context, server netip.Addr) (sample, error) {
	s, err := c.exchange(ctx, server)
	return s, plain(err)
}

// plain leaves out of a network error what is another each time, so that the
// same trouble is the same line.
func plain(err error) error {
	var number syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer within %s", patience)
	case errors.As(err, &number):
		return number
	}
	return err
}

func (c *client) exchange(ctx context.Context, server netip.Addr) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, c.port)))
	if err != nil {
		return sample{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer conn.Close()
	if err := clock.Stamp(conn); err != nil {
		return sample{}, err
	}
	origin, err := nonce()
	if err != nil {
		return sample{}, err
	}
	sent := time.Now()
	if _, err := conn.Write(ntp.Packet{Version: ntp.Version, Mode: ntp.Client, Transmit: origin}.Encode()); err != nil {
		return sample{}, err
	}
	p, came, err := await(conn, origin)
	if err != nil {
		return sample{}, err
	}
	s, err := measure(p, c.clock(sent), c.clock(came), c.built)
	s.address = server
	return s, err
}

// nonce stands for the transmit time, which the server only sends back: who
// does not see the request cannot forge an answer.
func nonce() (ntp.Timestamp, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return ntp.Timestamp(binary.BigEndian.Uint64(b[:]) | 1), err
}

// await reads until the answer comes. Anything else that comes is passed over,
// so that one forged packet does not cost the round.
func await(conn *net.UDPConn, origin ntp.Timestamp) (ntp.Packet, time.Time, error) {
	buf, control := make([]byte, 512), make([]byte, clock.StampSize)
	for {
		n, size, _, _, err := conn.ReadMsgUDP(buf, control)
		now := time.Now()
		if err != nil {
			return ntp.Packet{}, now, err
		}
		p, err := ntp.Parse(buf[:n])
		if err != nil || p.Origin != origin || p.Mode != ntp.Server {
			continue
		}
		if at, ok := clock.Arrival(control[:size]); ok {
			now = at
		}
		return p, now, nil
	}
}

// measure turns an answer into a sample, if it can be used.
func measure(p ntp.Packet, sent, came, built time.Time) (sample, error) {
	if k := p.Kiss(); k != "" {
		return sample{}, kiss(k)
	}
	received, answered := p.Receive.Time(built), p.Transmit.Time(built)
	sent, came = sent.Round(0), came.Round(0) // without the monotonic reading
	delay := came.Sub(sent) - answered.Sub(received)
	s := sample{
		offset:  (received.Sub(sent) + answered.Sub(came)) / 2,
		delay:   max(delay, 0),
		stratum: int(p.Stratum),
		leap:    p.Leap,
	}
	s.distance = max((p.RootDelay.Duration()+s.delay)/2+p.RootDispersion.Duration(), minDistance)
	switch age := answered.Sub(p.Reference.Time(answered.Add(-century / 2))); {
	case p.Version < 3 || p.Version > ntp.Version:
		return s, fmt.Errorf("server speaks version %d, want 4", p.Version)
	case p.Leap == ntp.LeapUnknown || p.Stratum > maxStratum:
		return s, errors.New("server's own clock is not synchronised")
	case p.Receive == 0 || p.Transmit == 0 || answered.Before(received):
		return s, errors.New("server's times are not in order")
	case delay < -minDistance || came.Before(sent):
		return s, errors.New("answer came before the request was sent")
	case p.Reference != 0 && age < 0:
		return s, errors.New("server's clock was last corrected in the future")
	case p.Reference != 0 && age > maxAge:
		return s, fmt.Errorf("server's clock was last corrected %s ago", age.Round(time.Second))
	case s.distance > maxDistance:
		return s, fmt.Errorf("server is too far away: its time may be wrong by %s", s.distance.Round(time.Millisecond))
	case answered.After(built.Add(century)):
		return s, fmt.Errorf("server's time is %s, before this release was built", answered.UTC().Format(time.RFC3339))
	}
	return s, nil
}

// century is how long after the build a time is taken as it is: a packet's
// times are ambiguous by 136 years, and what lies before the build reads as
// that much later.
const century = 100 * 366 * 24 * time.Hour
