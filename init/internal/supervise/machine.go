package supervise

import (
	"fmt"
	"time"

	"holdfast/init/spec"
)

// State is where a service is in its life.
//
// A service waits until all that it requires is ready. It is then started,
// and becomes ready in the way of its type. An early one is started without
// that, and held at its gate, running, until all that it requires is ready;
// its start deadline counts from then.
//
// When its main process ends, the rest of its cgroup is swept out first
// (unless its stop mode spares it), so that nothing of an old run lives on
// beside a new one. Unless it was asked to stop, its restart policy then
// decides: it backs off and starts again, is done (a oneshot that succeeded),
// is stopped (a clean end that is final), or has failed (never restarted, or
// too many restarts within its limit).
//
// A service that misses its start deadline, or its watchdog's, is killed and
// treated as one that ended. A stop asks first (SIGTERM), kills at the
// deadline, and gives up a second deadline later: a process that even SIGKILL
// does not end (uninterruptible sleep) must not hold the machine up.
//
//	waiting ─start─▶ starting ─said, runs─▶ ready ─▶ ended ┐
//	   ▲       └▶ held ─open─▲                             │
//	   │              └───────────┴──stop, restart,────────┤
//	   │                             expired               ▼
//	   │                            stopping ──ended──▶ sweeping
//	   │ restart, want                                     │ emptied
//	   └── stopped, done, failed ◀─────────────────────────┤
//	         starting, held ◀─expired── backoff ◀──────────┘
type State string

const (
	Waiting  State = "waiting"
	Held     State = "held"
	Starting State = "starting"
	Ready    State = "ready"
	Stopping State = "stopping"
	Sweeping State = "sweeping"
	Backoff  State = "backoff"
	Stopped  State = "stopped"
	Done     State = "done"
	Failed   State = "failed"
)

// States lists them all.
var States = [...]State{Waiting, Held, Starting, Ready, Stopping, Sweeping, Backoff, Stopped, Done, Failed}

// Event is something that happened to a service.
type Event string

const (
	Start   Event = "start"   // all that it requires is ready, or it is early
	Runs    Event = "runs"    // its main process was started
	Open    Event = "open"    // it is early, and all that it requires is ready
	Said    Event = "said"    // it said READY=1
	Pinged  Event = "pinged"  // it said WATCHDOG=1
	Ended   Event = "ended"   // its main process ended with status 0
	Died    Event = "died"    // its main process ended otherwise, or never ran
	Emptied Event = "emptied" // its cgroup holds no process any more
	Expired Event = "expired" // the timer armed last has run out
	Stop    Event = "stop"    // it shall stop
	Restart Event = "restart" // it shall stop and start again
	Want    Event = "want"    // it shall run
)

// Events lists them all.
var Events = [...]Event{Start, Runs, Open, Said, Pinged, Ended, Died, Emptied, Expired, Stop, Restart, Want}

// Do is what the supervisor must do; the machine itself does nothing.
type Do string

const (
	Spawn   Do = "spawn"   // start the main process
	Pass    Do = "pass"    // open its gate
	Term    Do = "term"    // ask it to end
	Kill    Do = "kill"    // end it, and what its stop mode covers
	Sweep   Do = "sweep"   // end what is left in the cgroup; Emptied follows
	Abandon Do = "abandon" // forget the process: it can't be ended
	Arm     Do = "arm"     // set the one timer
	Disarm  Do = "disarm"  // clear it
)

// Action is one thing to do; After is set for Arm. Sweep is always the last
// of its list, because Emptied may follow at once.
type Action struct {
	Do    Do
	After time.Duration
}

const backoffMost = 10 * time.Second

// Machine is the state of one service. It is pure: events and times go in,
// actions come out.
type Machine struct {
	Service  *spec.Service
	State    State
	Reason   string // why it is backing off, stopping or failed
	LastExit string // how its main process ended last
	Restarts int    // in all

	Jitter     func(time.Duration) time.Duration // spreads backoff delays
	Impossible func(State, Event)                // told of an event that can't be

	killed   bool            // Kill was ordered in this stop
	then     next            // what follows the end of the processes
	clean    bool            // the main process ended with status 0
	recent   []time.Duration // restarts within the limit's window
	failures int             // in a row, for the backoff
	readyAt  time.Duration
	wasReady bool // in this run
}

// next is what follows when nothing of a run is left.
type next int

const (
	byPolicy next = iota // what the restart policy says
	rest                 // stay stopped: somebody asked for it
	anew                 // start again: somebody asked for it
)

// handlers take an event in a state. An event that is not listed there can't
// happen: the supervisor sends it in other states only.
var handlers = map[State]map[Event]func(*Machine, time.Duration, string) []Action{
	Waiting: {
		Start: (*Machine).spawn, Stop: (*Machine).stayStopped,
		Said: ignore, Pinged: ignore, Restart: ignore, Want: ignore,
	},
	Held: {
		Runs: ignore, Open: (*Machine).open, Ended: (*Machine).ended, Died: (*Machine).died,
		Stop: (*Machine).stop, Restart: (*Machine).restart, Said: ignore, Pinged: ignore, Want: ignore,
	},
	Starting: {
		Runs: (*Machine).runs, Said: (*Machine).said, Ended: (*Machine).ended, Died: (*Machine).died,
		Expired: (*Machine).late, Stop: (*Machine).stop, Restart: (*Machine).restart, Pinged: ignore, Want: ignore,
	},
	Ready: {
		Pinged: (*Machine).pinged, Ended: (*Machine).ended, Died: (*Machine).died, Expired: (*Machine).silent,
		Stop: (*Machine).stop, Restart: (*Machine).restart, Said: ignore, Want: ignore,
	},
	Stopping: {
		Ended: (*Machine).ended, Died: (*Machine).died, Expired: (*Machine).deaf,
		Stop: (*Machine).thenRest, Restart: (*Machine).thenAnew, Want: (*Machine).unlessRest, Said: ignore, Pinged: ignore,
	},
	Sweeping: {
		Emptied: (*Machine).emptied, Expired: (*Machine).unswept,
		Stop: (*Machine).thenRest, Restart: (*Machine).thenAnew, Want: (*Machine).unlessRest, Said: ignore, Pinged: ignore,
	},
	Backoff: {
		Expired: (*Machine).spawn, Stop: (*Machine).stayStopped, Restart: (*Machine).wait,
		Said: ignore, Pinged: ignore, Want: ignore,
	},
	Stopped: settled,
	Done:    settled,
	Failed:  settled,
}

var settled = map[Event]func(*Machine, time.Duration, string) []Action{
	Want: (*Machine).wait, Restart: (*Machine).wait, Stop: ignore, Said: ignore, Pinged: ignore,
}

// Step takes an event at a time (since boot). detail explains Ended and Died.
func (m *Machine) Step(now time.Duration, e Event, detail string) []Action {
	handle := handlers[m.State][e]
	if handle == nil {
		m.Impossible(m.State, e)
		return nil
	}
	return handle(m, now, detail)
}

// Settled tells whether nothing of the service runs or will run by itself.
func (m *Machine) Settled() bool {
	return m.State == Stopped || m.State == Done || m.State == Failed
}

// Satisfied tells whether services that require this one may start.
func (m *Machine) Satisfied() bool { return m.State == Ready || m.State == Done }

func ignore(*Machine, time.Duration, string) []Action { return nil }

// wait begins a new life: what failed before is forgiven.
func (m *Machine) wait(time.Duration, string) []Action {
	m.State, m.Reason, m.recent, m.failures = Waiting, "", nil, 0
	return []Action{{Do: Disarm}}
}

func (m *Machine) stayStopped(time.Duration, string) []Action {
	m.State = Stopped
	return []Action{{Do: Disarm}}
}

func (m *Machine) spawn(time.Duration, string) []Action {
	m.State, m.killed, m.then, m.wasReady = Starting, false, byPolicy, false
	if m.Service.Early {
		m.State = Held
		return []Action{{Do: Disarm}, {Do: Spawn}}
	}
	return []Action{{Arm, m.Service.TimeoutStart}, {Do: Spawn}}
}

// open ends the hold. The process runs already.
func (m *Machine) open(now time.Duration, _ string) []Action {
	m.State = Starting
	return append([]Action{{Do: Pass}, {Arm, m.Service.TimeoutStart}}, m.runs(now, "")...)
}

// runs makes a simple service ready.
func (m *Machine) runs(now time.Duration, _ string) []Action {
	if m.Service.Type != spec.Simple {
		return nil
	}
	return m.ready(now)
}

func (m *Machine) said(now time.Duration, _ string) []Action {
	if m.Service.Type != spec.Notify {
		return nil
	}
	return m.ready(now)
}

func (m *Machine) ready(now time.Duration) []Action {
	m.State, m.Reason, m.readyAt, m.wasReady = Ready, "", now, true
	return m.pinged(now, "")
}

// pinged starts the watchdog's time anew.
func (m *Machine) pinged(time.Duration, string) []Action {
	if m.Service.Watchdog == 0 {
		return []Action{{Do: Disarm}}
	}
	return []Action{{Arm, m.Service.Watchdog}}
}

func (m *Machine) late(time.Duration, string) []Action {
	return m.kill(fmt.Sprintf("not ready within %s", m.Service.TimeoutStart))
}

func (m *Machine) silent(time.Duration, string) []Action {
	return m.kill(fmt.Sprintf("watchdog: silent for %s", m.Service.Watchdog))
}

func (m *Machine) kill(reason string) []Action {
	m.State, m.killed, m.Reason = Stopping, true, reason
	return []Action{{Do: Kill}, {Arm, m.Service.TimeoutStop}}
}

func (m *Machine) stop(time.Duration, string) []Action {
	m.State, m.then = Stopping, rest
	return []Action{{Do: Term}, {Arm, m.Service.TimeoutStop}}
}

func (m *Machine) restart(now time.Duration, _ string) []Action {
	actions := m.stop(now, "")
	m.then = anew
	return actions
}

func (m *Machine) thenRest(time.Duration, string) []Action {
	m.then = rest
	return nil
}

func (m *Machine) thenAnew(time.Duration, string) []Action {
	m.then = anew
	return nil
}

// unlessRest takes a stop back.
func (m *Machine) unlessRest(time.Duration, string) []Action {
	if m.then == rest {
		m.then = anew
	}
	return nil
}

// deaf is a service that did not stop: it is killed, then given up.
func (m *Machine) deaf(now time.Duration, _ string) []Action {
	if !m.killed {
		return m.kill(fmt.Sprintf("killed: did not stop within %s", m.Service.TimeoutStop))
	}
	m.Reason, m.LastExit = "left behind: survived SIGKILL", "none: survived SIGKILL"
	return append([]Action{{Do: Abandon}}, m.follow(now)...)
}

func (m *Machine) ended(now time.Duration, detail string) []Action {
	return m.exited(now, true, detail)
}
func (m *Machine) died(now time.Duration, detail string) []Action {
	return m.exited(now, false, detail)
}

// exited sweeps the cgroup, where that is the service's stop mode.
func (m *Machine) exited(now time.Duration, clean bool, detail string) []Action {
	m.clean, m.LastExit = clean, detail
	if m.then == byPolicy && m.State != Stopping {
		m.Reason = detail
	}
	if m.Service.Stop == spec.StopMain {
		return m.follow(now)
	}
	m.State = Sweeping
	return []Action{{Arm, m.Service.TimeoutStop}, {Do: Sweep}}
}

func (m *Machine) emptied(now time.Duration, _ string) []Action { return m.follow(now) }

func (m *Machine) unswept(now time.Duration, _ string) []Action {
	m.Reason = "left behind: processes survived SIGKILL"
	return m.follow(now)
}

// follow decides what comes after a run.
func (m *Machine) follow(now time.Duration) []Action {
	switch m.then {
	case rest:
		return m.stayStopped(now, "")
	case anew:
		return m.wait(now, "")
	}
	switch {
	case m.clean && m.Service.Type == spec.Oneshot:
		m.State, m.Reason = Done, ""
	case m.clean && m.Service.Restart != spec.Always:
		m.State = Stopped
	case m.Service.Restart == spec.Never:
		m.State = Failed
	default:
		return m.again(now)
	}
	return []Action{{Do: Disarm}}
}

// again backs off, unless that has been done too often of late.
func (m *Machine) again(now time.Duration) []Action {
	limit := m.Service.Limit
	if m.wasReady && now-m.readyAt >= limit.Per {
		m.failures = 0
	}
	m.recent = append(within(m.recent, now-limit.Per), now)
	if len(m.recent) > limit.Restarts {
		m.State = Failed
		m.Reason = fmt.Sprintf("%s; more than %d restarts within %s", m.Reason, limit.Restarts, limit.Per)
		return []Action{{Do: Disarm}}
	}
	m.State = Backoff
	m.Restarts++
	m.failures++
	return m.delay(now)
}

func (m *Machine) delay(now time.Duration) []Action {
	if m.Service.Backoff == 0 {
		return m.spawn(now, "")
	}
	d := min(m.Service.Backoff<<min(m.failures-1, 10), backoffMost)
	if m.Jitter != nil {
		d = m.Jitter(d)
	}
	return []Action{{Arm, d}}
}

func within(times []time.Duration, since time.Duration) []time.Duration {
	for len(times) > 0 && times[0] < since {
		times = times[1:]
	}
	return times
}
