package supervise

import (
	"fmt"
	"time"

	"holdfast/init/spec"
)

// State is where a service is in its life.
//
// A service waits until all that it requires is ready. It is then started,
// and becomes ready in the way of its type. One with a gate is held there,
// running, until the services that the gate names are ready too; its start
// deadline counts from then. When it ends without having been
// asked to, its restart policy decides: it backs off and starts again, is done
// (a oneshot that succeeded), or has failed (never restarted, or too many
// restarts within its limit). A service that misses its start deadline is
// killed and treated as one that ended. A stop asks first (SIGTERM), kills at
// the deadline, and gives up a second deadline later: a process that even
// SIGKILL does not end (uninterruptible sleep) must not hold the machine up.
//
//	                    ┌───────────── backoff ◀────────────┐
//	                    ▼                                   │
//	waiting ──start──▶ starting ──ready──▶ ready ──ended──▶ ? ──▶ done, failed
//	           │        ▲    │              │
//	           └▶ held ─open │              │
//	                │        └─stop▶ stopping ◀┘──ended──▶ stopped
//	                └──────────stop─▶
type State string

const (
	Waiting  State = "waiting"
	Held     State = "held"
	Starting State = "starting"
	Ready    State = "ready"
	Backoff  State = "backoff"
	Stopping State = "stopping"
	Stopped  State = "stopped"
	Done     State = "done"
	Failed   State = "failed"
)

// Event is something that happened to a service.
type Event string

const (
	Start   Event = "start"   // all that it requires is ready
	Open    Event = "open"    // all that its gate names is ready
	Said    Event = "ready"   // it said READY=1
	Ended   Event = "ended"   // its main process ended with status 0
	Died    Event = "died"    // its main process ended otherwise, or never ran
	Expired Event = "expired" // the timer armed last has run out
	Stop    Event = "stop"    // it shall stop
)

// Do is what the supervisor must do; the machine itself does nothing.
type Do string

const (
	Spawn  Do = "spawn"  // start the main process
	Pass   Do = "pass"   // open its gate
	Term   Do = "term"   // ask it to end
	Kill   Do = "kill"   // end it, and what its stop mode covers
	Sweep  Do = "sweep"  // end what the main process left in the cgroup
	Arm    Do = "arm"    // set the one timer
	Disarm Do = "disarm" // clear it
)

// Action is one thing to do; After is set for Arm.
type Action struct {
	Do    Do
	After time.Duration
}

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
)

// Machine is the state of one service. It is pure: events and times go in,
// actions come out.
type Machine struct {
	Service  *spec.Service
	State    State
	Reason   string // why it is backing off, stopping or failed
	Restarts int    // in all

	Jitter func(time.Duration) time.Duration // spreads backoff delays

	killed   bool            // Kill was ordered in this stop
	again    bool            // after stopping, treat as died
	recent   []time.Duration // restarts within the limit's window
	failures int             // in a row, for the backoff
	readyAt  time.Duration
}

// Step takes an event at a time (since boot). detail explains Ended and Died.
func (m *Machine) Step(now time.Duration, e Event, detail string) []Action {
	switch m.State {
	case Waiting:
		return m.waiting(e)
	case Held, Starting, Ready:
		return m.running(now, e, detail)
	case Backoff:
		return m.backoff(e)
	case Stopping:
		return m.stopping(now, e)
	}
	return nil // Stopped, Done, Failed: nothing runs, nothing is to be done
}

// Settled tells whether nothing of the service runs or will run by itself.
func (m *Machine) Settled() bool {
	return m.State == Stopped || m.State == Done || m.State == Failed
}

// Satisfied tells whether services that require this one may start.
func (m *Machine) Satisfied() bool { return m.State == Ready || m.State == Done }

func (m *Machine) waiting(e Event) []Action {
	switch e {
	case Start:
		return m.spawn()
	case Stop:
		m.State = Stopped
	}
	return nil
}

func (m *Machine) spawn() []Action {
	m.State, m.killed, m.again = Starting, false, false
	if len(m.Service.Gate) > 0 {
		m.State = Held
		return []Action{{Do: Spawn}, {Do: Disarm}}
	}
	return []Action{{Do: Spawn}, {Arm, m.Service.TimeoutStart}}
}

func (m *Machine) open(now time.Duration) []Action {
	if m.State != Held {
		return nil
	}
	m.State = Starting
	if m.Service.Type == spec.Simple {
		return append([]Action{{Do: Pass}}, m.ready(now)...)
	}
	return []Action{{Do: Pass}, {Arm, m.Service.TimeoutStart}}
}

// Spawned tells the machine that the main process runs: a simple service is
// then ready.
func (m *Machine) Spawned(now time.Duration) []Action {
	if m.State == Starting && m.Service.Type == spec.Simple {
		return m.ready(now)
	}
	return nil
}

func (m *Machine) ready(now time.Duration) []Action {
	m.State, m.Reason, m.readyAt = Ready, "", now
	return []Action{{Do: Disarm}}
}

func (m *Machine) running(now time.Duration, e Event, detail string) []Action {
	switch e {
	case Open:
		return m.open(now)
	case Said:
		if m.State == Starting && m.Service.Type == spec.Notify {
			return m.ready(now)
		}
	case Ended, Died:
		return append(m.sweep(), m.ended(now, e == Ended, detail)...)
	case Expired:
		if m.State == Starting {
			m.State, m.again, m.killed = Stopping, true, true
			m.Reason = fmt.Sprintf("not ready within %s", m.Service.TimeoutStart)
			return []Action{{Do: Kill}, {Arm, m.Service.TimeoutStop}}
		}
	case Stop:
		m.State = Stopping
		return []Action{{Do: Term}, {Arm, m.Service.TimeoutStop}}
	}
	return nil
}

// sweep ends what the main process left behind, where that is the service's
// stop mode: nothing of an old run may live on beside a new one.
func (m *Machine) sweep() []Action {
	if m.Service.Stop == spec.StopAll {
		return []Action{{Do: Sweep}}
	}
	return nil
}

func (m *Machine) ended(now time.Duration, ok bool, detail string) []Action {
	m.Reason = detail
	if ok && m.Service.Type == spec.Oneshot {
		m.State, m.Reason = Done, ""
		return []Action{{Do: Disarm}}
	}
	if m.Service.Restart == spec.Never || m.Service.Restart == spec.OnFailure && ok {
		m.State = Failed
		if ok {
			m.State = Stopped
		}
		return []Action{{Do: Disarm}}
	}
	if m.State == Ready && now-m.readyAt >= m.Service.Limit.Per {
		m.failures = 0
	}
	m.recent = append(within(m.recent, now-m.Service.Limit.Per), now)
	if len(m.recent) > m.Service.Limit.Restarts {
		m.State = Failed
		m.Reason = fmt.Sprintf("%s; more than %d restarts within %s", detail, m.Service.Limit.Restarts, m.Service.Limit.Per)
		return []Action{{Do: Disarm}}
	}
	m.State = Backoff
	m.Restarts++
	m.failures++
	return []Action{{Arm, m.delay()}}
}

func (m *Machine) delay() time.Duration {
	d := min(backoffFirst<<min(m.failures-1, 10), backoffMost)
	if m.Jitter != nil {
		d = m.Jitter(d)
	}
	return d
}

func within(times []time.Duration, since time.Duration) []time.Duration {
	for len(times) > 0 && times[0] < since {
		times = times[1:]
	}
	return times
}

func (m *Machine) backoff(e Event) []Action {
	switch e {
	case Expired:
		return m.spawn()
	case Stop:
		m.State = Stopped
		return []Action{{Do: Disarm}}
	}
	return nil
}

func (m *Machine) stopping(now time.Duration, e Event) []Action {
	switch e {
	case Stop:
		m.again = false
	case Ended, Died:
		return append(m.sweep(), m.stopped(now)...)
	case Expired:
		if !m.killed {
			m.killed = true
			m.Reason = fmt.Sprintf("killed: did not stop within %s", m.Service.TimeoutStop)
			return []Action{{Do: Kill}, {Arm, m.Service.TimeoutStop}}
		}
		m.Reason = "left behind: survived SIGKILL"
		m.again = false
		return m.stopped(now)
	}
	return nil
}

func (m *Machine) stopped(now time.Duration) []Action {
	if m.again {
		return m.ended(now, false, m.Reason)
	}
	m.State = Stopped
	return []Action{{Do: Disarm}}
}
