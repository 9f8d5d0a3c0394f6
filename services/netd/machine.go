package netd

import "time"

// action is what a DHCP client does next.
type action string

const (
	wait     action = "wait"
	discover action = "discover" // find a server and ask for an address
	reboot   action = "reboot"   // ask all servers whether a lease still holds on this link
	renew    action = "renew"    // ask the server that granted it for more time
	rebind   action = "rebind"   // ask all servers for more time
	drop     action = "drop"     // the lease has ended: give the address up
)

// machine is a DHCP client as in RFC 2131, figure 5, without its I/O. The
// caller asks for the next action, carries it out and says how it ended.
//
//	no lease                   discover, with longer and longer pauses
//	lease, not confirmed       reboot; after unconfirmedTries without an answer
//	                           it is used for the time that it has left
//	lease, confirmed           wait until T1
//	T1 ≤ now < T2              renew, at half of the time left
//	T2 ≤ now < end             rebind, at half of the time left
//	end ≤ now                  drop, whether there is a carrier or not
//
// Without a carrier nothing is asked, and what comes after it is another link
// for all we know: the lease is no longer confirmed. A refusal (NAK) ends the
// lease at once.
type machine struct {
	lease     *Lease
	confirmed bool
	carrier   bool
	silent    int           // exchanges in a row that nobody answered
	notBefore time.Duration // the pause after the last one
}

const (
	unconfirmedTries = 2
	longestPause     = 64 * time.Second
	forever          = time.Duration(1<<63 - 1)
)

// next is the action of the moment; wait ends at until or at an event.
func (m *machine) next(now time.Duration) (do action, until time.Duration) {
	switch {
	case m.lease != nil && now >= m.lease.End:
		return drop, 0
	case !m.carrier && m.lease == nil:
		return wait, forever
	case !m.carrier:
		return wait, m.lease.End
	case m.lease != nil && m.confirmed && now < m.lease.Renew:
		return wait, m.lease.Renew
	case now < m.notBefore:
		return wait, m.notBefore
	case m.lease == nil:
		return discover, 0
	case !m.confirmed:
		return reboot, 0
	case now < m.lease.Rebind:
		return renew, 0
	}
	return rebind, 0
}

// setCarrier takes note of the cable and reports whether that was news.
func (m *machine) setCarrier(up bool) bool {
	if up == m.carrier {
		return false
	}
	m.carrier, m.confirmed = up, false
	m.silent, m.notBefore = 0, 0
	return true
}

// granted: a server gave a lease or more time.
func (m *machine) granted(l *Lease) {
	m.lease, m.confirmed = l, true
	m.silent, m.notBefore = 0, 0
}

// refused: a server said no, or the lease has ended. jitter is 0 to 1.
func (m *machine) refused(now time.Duration, jitter float64) {
	m.lease, m.confirmed = nil, false
	m.silent++ // a server that offers and refuses must not keep us busy
	m.notBefore = now + m.pause(jitter)
}

// ended: the lease was given up; the next discover needs no pause.
func (m *machine) ended() {
	m.lease, m.confirmed = nil, false
	m.silent, m.notBefore = 0, 0
}

// unanswered: nobody said anything to what was asked.
func (m *machine) unanswered(asked action, now time.Duration, jitter float64) {
	m.silent++
	switch {
	case m.lease == nil:
		m.notBefore = now + m.pause(jitter)
	case !m.confirmed && m.silent >= unconfirmedTries:
		m.confirmed, m.silent, m.notBefore = true, 0, 0
	case !m.confirmed:
		m.notBefore = now
	case now < m.lease.Rebind:
		m.notBefore = now + m.half(m.lease.Rebind-now)
	case asked == renew: // T2 came while we waited
		m.notBefore = now
	default:
		m.notBefore = now + m.half(m.lease.End-now)
	}
}

// pause is 1 s, 2 s, 4 s, … and up to a quarter more or less.
func (m *machine) pause(jitter float64) time.Duration {
	p := min(time.Second<<min(m.silent-1, 10), longestPause)
	return time.Duration(float64(p) * (0.75 + jitter/2))
}

// half of the time left, but at least a minute (RFC 2131, 4.4.5), or what is
// as much for a lease of less than half an hour.
func (m *machine) half(left time.Duration) time.Duration {
	floor := min(max((m.lease.End-m.lease.Start)/32, time.Second), time.Minute)
	return min(max(left/2, floor), max(left, time.Second))
}
