package supervise

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/init/control"
	"holdfast/init/internal/guard"
	"holdfast/init/internal/logs"
	"holdfast/init/internal/proc"
	"holdfast/init/spec"
	"holdfast/init/status"
	"holdfast/kernel/cgroup"
)

// Config is what a supervisor works with. The functions are called from its
// loop and must not block.
type Config struct {
	Services []*spec.Service // in dependency order
	Reaper   *proc.Reaper
	LogDir   string
	Now      func() time.Duration // since boot
	Changed  func([]status.Service)
	Say      func(service, text string) // one line for the console
	Fault    func(service, text string)
	Pet      func()        // pets the watchdog: called while the loop turns and no critical service has failed
	PetEvery time.Duration // how often
}

// Supervisor runs services. One goroutine, Run's, owns all its state; others
// only send it events.
type Supervisor struct {
	Config
	units    []*unit
	events   chan func()
	logs     *logs.Store
	notify   *notifySockets
	watchers watchers
	down     bool
	waits    int           // drains under way
	changed  bool          // something that Changed was not told yet
	toldAt   time.Duration // when it was told last
	worked   bool          // there was an event since the last rest
}

// New makes a supervisor with every service waiting.
func New(c Config) (*Supervisor, error) {
	sockets, err := newNotifySockets()
	if err != nil {
		return nil, err
	}
	s := &Supervisor{Config: c, events: make(chan func(), 64), notify: sockets}
	s.Fault = func(service, text string) {
		c.Fault(service, text)
		s.watchers.tell(control.Event{AtMs: s.Now().Milliseconds(), Kind: control.EventFault, Service: service, Text: text})
	}
	s.logs = logs.New(c.LogDir, func(text string) { s.Fault("logs", text) })
	for _, svc := range c.Services {
		u, err := s.unit(svc)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", svc.Name, err)
		}
		s.units = append(s.units, u)
	}
	guard.Go(func() { s.notify.receive(func(u *unit, m message) { s.events <- func() { s.said(u, m) } }) })
	if err := protect(c.Services); err != nil {
		return nil, err
	}
	for _, u := range s.units {
		u.requires = s.named(u.Service.Requires)
		for _, r := range u.requires {
			r.dependents = append(r.dependents, u)
		}
	}
	return s, nil
}

// promises of memory, which count only as far as those of the group above
// (Documentation/admin-guide/cgroup-v2.rst, "memory.min").
var promises = []string{"memory.min", "memory.low"}

// protect gives the services' common group what they are promised together.
func protect(services []*spec.Service) error {
	sums := map[[2]string]uint64{} // by group and file
	for _, svc := range services {
		for _, file := range promises {
			if value := cgroup.Find(svc.Resources, file); value != "" {
				n, err := strconv.ParseUint(value, 10, 63)
				if err != nil {
					return fmt.Errorf("service %s: %s: %w", svc.Name, file, err)
				}
				sums[[2]string{filepath.Dir(svc.Cgroup()), file}] += n
			}
		}
	}
	for at, sum := range sums {
		g, err := cgroup.Make(at[0])
		if err != nil {
			return err
		}
		if err := g.Set(at[1], strconv.FormatUint(sum, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) named(names []string) (units []*unit) {
	for _, u := range s.units {
		if slices.Contains(names, u.Service.Name) {
			units = append(units, u)
		}
	}
	return units
}

// Hold starts the early services, before Run and on the same goroutine: none
// passes its gate before Run.
func (s *Supervisor) Hold() {
	for _, u := range s.units {
		if u.Service.Early {
			s.step(u, Start, "")
		}
	}
}

// Run starts every service and supervises until a message on down, then stops
// everything, in reverse order and no longer than limit.
func (s *Supervisor) Run(down <-chan struct{}, limit time.Duration) {
	s.logs.Retry() // the state volume is there now
	s.turn()
	tick := time.NewTicker(s.PetEvery)
	defer tick.Stop()
	for {
		select {
		case do := <-s.events:
			do()
			s.worked = true
		case <-tick.C:
			s.pet()
			s.rest()
		case <-down:
			s.stopAll(down, limit)
			return
		}
		s.turn()
	}
}

// turn follows every event. Changes that come together are told once: with a
// list of all services for each, n services that stop are n² work.
func (s *Supervisor) turn() {
	s.advance()
	if len(s.events) == 0 || s.Now()-s.toldAt > tellMost {
		s.tell()
	}
}

func (s *Supervisor) tell() {
	if s.changed {
		s.changed, s.toldAt = false, s.Now()
		s.Changed(s.list())
	}
}

// tellMost is how long changes go untold while there is no end of events.
const tellMost = 100 * time.Millisecond

// rest gives back what memory the work since the last rest took. It belongs to
// the watchdog's wake-up, so that an idle machine has no other.
func (s *Supervisor) rest() {
	if s.worked {
		s.worked = false
		guard.Go(debug.FreeOSMemory)
	}
}

// pet leaves the machine to its watchdog once a critical service is beyond
// help: what restarts can't mend here, another boot or the other slot may.
func (s *Supervisor) pet() {
	for _, u := range s.units {
		if u.Service.Critical && u.State == Failed {
			s.Say(u.Service.Name, "critical and failed: the watchdog will restart the machine")
			return
		}
	}
	s.Pet()
}

// stopAll ends all services. A second message on down cuts it short. The
// watchdog stays armed, and is petted for the last time: limit is below its own.
func (s *Supervisor) stopAll(down <-chan struct{}, limit time.Duration) {
	s.Pet()
	s.down = true
	defer s.closeLogs()
	defer s.tell()
	deadline := time.After(limit)
	for s.turn(); !s.settled(); s.turn() {
		select {
		case do := <-s.events:
			do()
		case <-down:
			s.Say("shutdown", "second request: not waiting any longer")
			return
		case <-deadline:
			s.Say("shutdown", fmt.Sprintf("not all services stopped within %s: %s", limit, s.unsettled()))
			return
		}
	}
}

const closeLimit = 5 * time.Second

// closeLogs lets go of the state volume.
func (s *Supervisor) closeLogs() {
	if err := s.logs.Close(closeLimit); err != nil {
		s.Say("logs", err.Error())
	}
}

func (s *Supervisor) settled() bool {
	return s.waits == 0 && !slices.ContainsFunc(s.units, func(u *unit) bool { return !u.Settled() })
}

func (s *Supervisor) unsettled() string {
	var names []string
	for _, u := range s.units {
		if !u.Settled() {
			names = append(names, u.Service.Name)
		}
	}
	return strings.Join(names, ", ")
}

// advance starts what may start and stops what may stop: starts in dependency
// order, stops in the reverse, so that one pass is enough.
func (s *Supervisor) advance() {
	for _, u := range s.units {
		switch {
		case s.down || u.down:
		case u.State == Waiting && (u.Service.Early || all(u.requires, (*unit).Satisfied)):
			s.step(u, Start, "")
		case u.State == Held && all(u.requires, (*unit).Satisfied):
			s.step(u, Open, "")
		}
	}
	for _, u := range slices.Backward(s.units) {
		if (s.down || u.down) && !u.Settled() && !u.going() && s.free(u) {
			s.step(u, Stop, "")
		}
		if s.down && u.Settled() && u.Service.Drain != "" && !u.drained {
			u.drained = true
			s.drain(u)
		}
	}
}

// free tells whether nothing that depends on u still runs or drains.
func (s *Supervisor) free(u *unit) bool {
	return all(u.dependents, func(d *unit) bool { return d.Settled() && (s.waits == 0 || d.Service.Drain == "") })
}

func all(units []*unit, ok func(*unit) bool) bool {
	return !slices.ContainsFunc(units, func(u *unit) bool { return !ok(u) })
}

const drainLimit = 10 * time.Second

// drain ends the processes of the cgroup that the service filled, for kubelet
// its pods: SIGTERM, and cgroup.kill at the deadline.
func (s *Supervisor) drain(u *unit) {
	s.waits++
	guard.Go(func() {
		killed, err := cgroup.Empty(u.Service.Drain, drainLimit)
		s.events <- func() {
			s.waits--
			if err != nil {
				s.Say(u.Service.Name, fmt.Sprintf("drain %s: %v", u.Service.Drain, err))
			}
			if killed > 0 {
				s.Say(u.Service.Name, fmt.Sprintf("drain %s: %d processes killed after %s", u.Service.Drain, killed, drainLimit))
			}
		}
	})
}

// step feeds an event to a machine, carries its actions out and reports.
func (s *Supervisor) step(u *unit, e Event, detail string) {
	before := u.State
	for _, a := range u.Step(s.Now(), e, detail) {
		if err := s.act(u, a); err != nil {
			s.Say(u.Service.Name, fmt.Sprintf("%s: %v", a.Do, err))
		}
	}
	s.report(u, before)
}

// said takes a message from a service's notify socket.
func (s *Supervisor) said(u *unit, m message) {
	if !u.owns(m.pid) {
		s.Say(u.Service.Name, fmt.Sprintf("ignored a notification from process %d, which is not of this service", m.pid))
		return
	}
	for _, f := range m.faults {
		s.Fault(u.Service.Name, f)
	}
	if m.status != "" && m.status != u.status {
		u.status, s.changed = m.status, true
	}
	if m.ready {
		s.step(u, Said, "")
	}
	if m.alive {
		s.step(u, Pinged, "")
	}
}

// report tells of a service's new state; a service that fell over also shows
// the last lines that it printed.
func (s *Supervisor) report(u *unit, before State) {
	if u.State == before || u.reported == (reported{u.State, u.run}) {
		return
	}
	u.reported, u.since = reported{u.State, u.run}, s.Now()
	switch u.State {
	case Ready, Done:
		u.readyAt = u.since
		s.Say(u.Service.Name, string(u.State))
	case Backoff, Failed:
		s.Say(u.Service.Name, fmt.Sprintf("%s: %s", u.State, u.Reason))
		for _, line := range u.log.Tail(3) {
			s.Say(u.Service.Name, "| "+line)
		}
		if u.State == Failed {
			s.Fault(u.Service.Name, "failed: "+u.Reason)
		}
	case Stopped:
		text := string(u.State)
		if u.Reason != "" {
			text += ": " + u.Reason
		}
		s.Say(u.Service.Name, text)
	}
	s.changed = true
	s.watchers.tell(s.event(control.EventState, u))
}

func (s *Supervisor) list() []status.Service {
	out := make([]status.Service, 0, len(s.units))
	for _, u := range s.units {
		out = append(out, u.describe())
	}
	return out
}
