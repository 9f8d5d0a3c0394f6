package supervise

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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
	Pet      func() // pets the watchdog: called while the loop turns
}

const petEvery = 10 * time.Second

// Supervisor runs services. One goroutine, Run's, owns all its state; others
// only send it events.
type Supervisor struct {
	Config
	units  []*unit
	events chan func()
	down   bool
	waits  int // drains under way
}

type unit struct {
	Machine
	group   cgroup.Group
	spent   bool // the group was killed
	log     *logs.Log
	process *proc.Process
	gate    *os.File // the process waits until it is closed
	pids    []int    // of the newest main processes: a message may outlive its sender
	timer   *time.Timer
	armed   int   // counts Arm and Disarm: an old timer's event is stale
	oom     int64 // processes of the group that the OOM killer ended so far
	status  string
	readyAt time.Duration
	notify  *notifySocket
	drained bool
}

// New makes a supervisor with every service waiting.
func New(c Config) (*Supervisor, error) {
	s := &Supervisor{Config: c, events: make(chan func(), 64)}
	for _, svc := range c.Services {
		u := &unit{Machine: Machine{Service: svc, State: Waiting, Jitter: jitter}, log: logs.New(c.LogDir, svc.Name)}
		err := u.makeGroup()
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", svc.Name, err)
		}
		if u.notify, err = listen(svc.Name, svc.OCI.Process.User.UID); err != nil {
			return nil, fmt.Errorf("service %s: %w", svc.Name, err)
		}
		s.units = append(s.units, u)
		go u.notify.receive(func(m message) { s.events <- func() { s.said(u, m) } })
	}
	return s, nil
}

// jitter spreads a delay over ±20 %, so that services that died together do
// not come back together.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}

func (u *unit) makeGroup() (err error) {
	if u.group, err = cgroup.Make(u.Service.Cgroup()); err != nil {
		return err
	}
	u.spent, u.oom = false, 0
	return limit(u.group, u.Service)
}

// freshGroup replaces a group that was killed, see package cgroup. While
// something in it is still dying, it fails, and the service backs off.
func (u *unit) freshGroup() error {
	if !u.spent {
		return nil
	}
	if err := u.group.Remove(); err != nil {
		return err
	}
	return u.makeGroup()
}

// kill ends everything in the service's group, if there is anything.
func (u *unit) kill() error {
	full, err := u.group.Populated()
	if err != nil || !full {
		return err
	}
	u.spent = true
	return u.group.Kill()
}

func limit(g cgroup.Group, svc *spec.Service) error {
	if svc.OCI.Linux == nil || svc.OCI.Linux.Resources == nil {
		return nil
	}
	r := svc.OCI.Linux.Resources
	if r.Memory != nil && r.Memory.Limit != nil {
		if err := g.Set("memory.max", fmt.Sprint(*r.Memory.Limit)); err != nil {
			return err
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		if err := g.Set("pids.max", fmt.Sprint(*r.Pids.Limit)); err != nil {
			return err
		}
	}
	for file, value := range r.Unified {
		if strings.Contains(file, "/") {
			return fmt.Errorf("linux.resources.unified: %q is not a file name", file)
		}
		if err := g.Set(file, value); err != nil {
			return err
		}
	}
	return nil
}

// Run starts every service and supervises until a message on down, then stops
// everything, in reverse order and no longer than limit.
func (s *Supervisor) Run(down <-chan struct{}, limit time.Duration) {
	s.advance()
	tick := time.NewTicker(petEvery)
	defer tick.Stop()
	for {
		select {
		case do := <-s.events:
			do()
		case <-tick.C:
			s.Pet()
		case <-down:
			s.stopAll(down, limit)
			return
		}
		s.advance()
	}
}

const closeLimit = 5 * time.Second

// closeLogs lets go of the state volume.
func (s *Supervisor) closeLogs() {
	for _, u := range s.units {
		if err := u.log.Close(closeLimit); err != nil {
			s.Say(u.Service.Name, err.Error())
		}
	}
}

// stopAll ends all services. A second message on down cuts it short.
func (s *Supervisor) stopAll(down <-chan struct{}, limit time.Duration) {
	s.down = true
	defer s.closeLogs()
	deadline := time.After(limit)
	for s.advance(); !s.settled(); s.advance() {
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

// Prefetch asks the kernel to read files into the page cache, where it has
// time: while the boot waits for a disk or a service starts, the programs of
// the next are verified and decompressed. It is a hint; what fails is read
// when it is needed.
func Prefetch(services []*spec.Service) {
	for _, svc := range services {
		for _, path := range svc.Prefetch {
			if f, err := os.Open(path); err == nil {
				_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED)
				f.Close()
			}
		}
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

// advance starts what may start, or stops what may stop.
func (s *Supervisor) advance() {
	for _, u := range s.units {
		switch {
		case !s.down && u.State == Waiting && s.all(u.Service.Requires, (*unit).Satisfied):
			s.step(u, Start, "")
		case !s.down && u.State == Held && s.all(u.Service.Gate, (*unit).Satisfied):
			s.step(u, Open, "")
		case s.down && !u.Settled() && u.State != Stopping && s.free(u):
			s.step(u, Stop, "")
		}
		if s.down && u.Settled() && u.Service.Drain != "" && !u.drained {
			u.drained = true
			s.drain(u)
		}
	}
}

// free tells whether nothing that requires u still runs or drains.
func (s *Supervisor) free(u *unit) bool {
	for _, other := range s.units {
		if slices.Contains(other.Service.After(), u.Service.Name) && (!other.Settled() || s.waits > 0) {
			return false
		}
	}
	return true
}

func (s *Supervisor) all(names []string, ok func(*unit) bool) bool {
	for _, u := range s.units {
		if slices.Contains(names, u.Service.Name) && !ok(u) {
			return false
		}
	}
	return true
}

const drainLimit = 10 * time.Second

// drain ends the processes of the cgroup that the service filled, for kubelet
// its pods: SIGTERM, and cgroup.kill at the deadline.
func (s *Supervisor) drain(u *unit) {
	s.waits++
	go func() {
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
	}()
}

// step feeds an event to a machine, carries its actions out and reports.
func (s *Supervisor) step(u *unit, e Event, detail string) {
	before := u.State
	s.carryOut(u, u.Step(s.Now(), e, detail))
	s.report(u, before)
}

func (s *Supervisor) carryOut(u *unit, actions []Action) {
	for _, a := range actions {
		if a.Do == Arm || a.Do == Disarm {
			s.arm(u, a)
			continue
		}
		if err := s.act(u, a.Do); err != nil {
			s.Say(u.Service.Name, fmt.Sprintf("%s: %v", a.Do, err))
		}
	}
}

func (s *Supervisor) act(u *unit, do Do) error {
	switch {
	case do == Spawn:
		s.spawn(u)
	case do == Pass:
		return u.pass()
	case do == Term && u.process != nil:
		return u.process.Signal(syscall.SIGTERM)
	case do == Kill && u.Service.Stop == spec.StopMain && u.process != nil:
		return u.process.Signal(syscall.SIGKILL)
	case do == Kill, do == Sweep:
		return u.kill()
	}
	return nil
}

func (s *Supervisor) arm(u *unit, a Action) {
	u.armed++
	if u.timer != nil {
		u.timer.Stop()
	}
	if a.Do == Disarm {
		return
	}
	mine := u.armed
	u.timer = time.AfterFunc(a.After, func() {
		s.events <- func() {
			if mine == u.armed {
				s.step(u, Expired, "")
			}
		}
	})
}

func (s *Supervisor) spawn(u *unit) {
	p, err := s.start(u)
	if err != nil {
		// Asynchronously, as every other end of a process.
		go func() { s.events <- func() { s.step(u, Died, err.Error()) } }()
		return
	}
	u.process = p
	u.pids = append([]int{p.PID}, u.pids[:min(len(u.pids), 3)]...)
	s.carryOut(u, u.Spawned(s.Now()))
	go func() {
		st := <-p.Exit
		s.events <- func() { s.exited(u, p, st) }
	}()
}

func (s *Supervisor) start(u *unit) (*proc.Process, error) {
	if err := u.freshGroup(); err != nil {
		return nil, err
	}
	dir, err := u.group.Open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	u.log.Attach(r)
	process := *u.Service.OCI.Process
	process.Env = append(slices.Clone(process.Env), "NOTIFY_SOCKET="+u.notify.path)
	stdin, err := u.shut(&process)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	return s.Reaper.Start(proc.Command{Process: process, Cgroup: dir, Stdin: stdin, Stdout: w, Stderr: w})
}

// shut makes the gate of a service that has one: the pipe that is its standard
// input. Without a gate, the file is nil.
func (u *unit) shut(process *specs.Process) (stdin *os.File, err error) {
	if len(u.Service.Gate) == 0 {
		return nil, nil
	}
	if err := u.pass(); err != nil {
		return nil, err
	}
	process.Env = append(process.Env, spec.GateVariable+"=0")
	stdin, u.gate, err = os.Pipe()
	return stdin, err
}

// pass opens the gate, if there is one.
func (u *unit) pass() error {
	if u.gate == nil {
		return nil
	}
	err := u.gate.Close()
	u.gate = nil
	return err
}

func (s *Supervisor) exited(u *unit, p *proc.Process, st proc.Status) {
	if err := p.Close(); err != nil {
		s.Say(u.Service.Name, "close pidfd: "+err.Error())
	}
	if u.process == p {
		u.process = nil
	}
	detail := st.String()
	if n, err := u.group.OOMKills(); err == nil && n > u.oom {
		detail, u.oom = "out of memory: "+detail, n
	}
	if st.OK() {
		s.step(u, Ended, detail)
	} else {
		s.step(u, Died, detail)
	}
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
		u.status = m.status
		s.report(u, "")
	}
	if m.ready {
		s.step(u, Said, "")
	}
}

// owns tells whether a process is, or just was, one of the service's.
func (u *unit) owns(pid int) bool {
	if slices.Contains(u.pids, pid) {
		return true
	}
	path, err := cgroup.Of(pid)
	return err == nil && (path == u.Service.Cgroup() || strings.HasPrefix(path, u.Service.Cgroup()+"/"))
}

// report tells of a service's new state; a service that fell over also shows
// the last lines that it printed.
func (s *Supervisor) report(u *unit, before State) {
	if u.State == before {
		return
	}
	switch u.State {
	case Ready, Done:
		if before == Starting || before == Held {
			u.readyAt = s.Now()
			s.Say(u.Service.Name, string(u.State))
		}
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
	s.Changed(s.list())
}

func (s *Supervisor) list() []status.Service {
	var out []status.Service
	for _, u := range s.units {
		e := status.Service{
			Name: u.Service.Name, State: string(u.State), Reason: u.Reason, Status: u.status,
			ReadyMs: u.readyAt.Milliseconds(), Restarts: u.Restarts,
		}
		if u.process != nil {
			e.PID = u.process.PID
		}
		out = append(out, e)
	}
	return out
}
