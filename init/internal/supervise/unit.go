package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/guard"
	"holdfast/init/internal/logs"
	"holdfast/init/internal/proc"
	"holdfast/init/spec"
	"holdfast/init/status"
	"holdfast/kernel/cgroup"
)

// unit is one service: its machine, and what the machine's actions work on.
type unit struct {
	Machine
	requires, dependents []*unit

	down    bool // an operator wants it stopped
	group   cgroup.Group
	spent   bool // the group was killed
	log     *logs.Log
	process *proc.Process
	gate    *os.File // the process waits until it is closed
	pids    []int    // of the newest main processes: a message may outlive its sender
	timer   *time.Timer
	armed   int   // counts Arm and Disarm: an old timer's event is stale
	run     int   // counts the processes: an old sweep's event is stale
	oom     int64 // processes of the group that the OOM killer ended so far
	drained bool

	notifyPath     string
	status         string
	reported       reported
	since, readyAt time.Duration
}

// reported is what was told last of a service: steps nest, and the outer ones
// have nothing to add.
type reported struct {
	state State
	run   int
}

func (s *Supervisor) unit(svc *spec.Service) (*unit, error) {
	u := &unit{log: s.logs.Log(svc.Name), reported: reported{state: Waiting}}
	u.Machine = Machine{Service: svc, State: Waiting, Jitter: jitter, Impossible: func(st State, e Event) {
		s.Fault(svc.Name, fmt.Sprintf("event %q while %s: this is a mistake in the supervisor; it is ignored", e, st))
	}}
	if err := u.makeGroup(); err != nil {
		return nil, err
	}
	return u, s.notify.listen(u)
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

func limit(g cgroup.Group, svc *spec.Service) error {
	for _, setting := range svc.Resources {
		if err := setting.Set(g); err != nil {
			return err
		}
	}
	return nil
}

// act carries out what the machine ordered.
func (s *Supervisor) act(u *unit, a Action) error {
	switch a.Do {
	case Arm, Disarm:
		s.arm(u, a)
	case Spawn:
		s.spawn(u)
	case Pass:
		return u.pass()
	case Term:
		return u.signal(s.termination(u))
	case Kill:
		if u.Service.Stop == spec.StopMain {
			return u.signal(syscall.SIGKILL)
		}
		_, err := u.kill()
		return err
	case Sweep:
		return s.sweep(u)
	case Abandon:
		u.process = nil
	}
	return nil
}

// termination is the signal that asks a service to end.
func (s *Supervisor) termination(u *unit) syscall.Signal {
	if s.down {
		return unix.SignalNum(u.Service.SignalShutdown)
	}
	return syscall.SIGTERM
}

func (u *unit) signal(sig syscall.Signal) error {
	if u.process == nil {
		return nil
	}
	return u.process.Signal(sig)
}

// kill ends everything in the service's group, if there is anything.
func (u *unit) kill() (full bool, err error) {
	if full, err = u.group.Populated(); err != nil || !full {
		return false, err
	}
	u.spent = true
	return true, u.group.Kill()
}

// sweep kills what is left in the group. The machine hears at once when that
// is nothing, else when it is gone; the machine's timer bounds the wait.
func (s *Supervisor) sweep(u *unit) error {
	full, err := u.kill()
	if err != nil || !full {
		s.step(u, Emptied, "")
		return err
	}
	group, run := u.group, u.run
	guard.Go(func() {
		empty, err := group.WaitEmpty(u.Service.TimeoutStop)
		s.events <- func() {
			switch {
			case err != nil:
				s.Say(u.Service.Name, "sweep: "+err.Error())
			case empty && run == u.run && u.State == Sweeping:
				s.step(u, Emptied, "")
			}
		}
	})
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

// spawn starts the main process. That it could not be started arrives as any
// other end of a process does.
func (s *Supervisor) spawn(u *unit) {
	u.run++
	p, err := s.start(u)
	if err != nil {
		run := u.run
		guard.Go(func() {
			s.events <- func() {
				if run == u.run && u.process == nil {
					s.step(u, Died, err.Error())
				}
			}
		})
		return
	}
	u.process = p
	u.pids = append([]int{p.PID}, u.pids[:min(len(u.pids), 3)]...)
	s.step(u, Runs, "")
	guard.Go(func() {
		st := <-p.Exit
		s.events <- func() { s.exited(u, p, st) }
	})
}

func (s *Supervisor) start(u *unit) (*proc.Process, error) {
	if err := u.freshGroup(); err != nil {
		return nil, err
	}
	for _, dir := range u.Service.Directories {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
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
	stdin, err := u.shut()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	return s.Reaper.Start(proc.Command{Plan: u.Service.Plan, Env: u.env(), Cgroup: dir, Stdin: stdin, Stdout: w, Stderr: w})
}

// env is what sd_notify(3) and sd_watchdog_enabled(3) read, and the gate.
func (u *unit) env() []string {
	env := []string{"NOTIFY_SOCKET=" + u.notifyPath}
	if u.Service.Watchdog > 0 {
		env = append(env, fmt.Sprintf("WATCHDOG_USEC=%d", u.Service.Watchdog.Microseconds()))
	}
	if u.gate != nil {
		env = append(env, spec.GateVariable+"=0")
	}
	return env
}

// shut makes an early service's gate: the pipe that is its standard input.
// Another's file is nil. Until it passes, the service has only the processor
// time that nobody else wants.
func (u *unit) shut() (stdin *os.File, err error) {
	if err := u.pass(); err != nil || !u.Service.Early {
		return nil, err
	}
	if err := u.group.Set("cpu.idle", "1"); err != nil {
		return nil, err
	}
	stdin, u.gate, err = os.Pipe()
	return stdin, err
}

// pass opens the gate, if there is one.
func (u *unit) pass() error {
	if u.gate == nil {
		return nil
	}
	err := errors.Join(u.group.Set("cpu.idle", "0"), u.gate.Close())
	u.gate = nil
	return err
}

// exited takes the end of a process. One that was abandoned before has no
// say in the machine any more.
func (s *Supervisor) exited(u *unit, p *proc.Process, st proc.Status) {
	if err := errors.Join(p.Close(), u.pass()); err != nil {
		s.Say(u.Service.Name, "let go of process: "+err.Error())
	}
	if u.process != p {
		s.Say(u.Service.Name, "a process that was left behind: "+st.String())
		return
	}
	u.process = nil
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

// going tells whether the service is on its way down.
func (u *unit) going() bool {
	return (u.State == Stopping || u.State == Sweeping) && u.then == rest
}

// owns tells whether a process is, or just was, one of the service's.
func (u *unit) owns(pid int) bool {
	if slices.Contains(u.pids, pid) {
		return true
	}
	path, err := cgroup.Of(pid)
	return err == nil && (path == u.Service.Cgroup() || strings.HasPrefix(path, u.Service.Cgroup()+"/"))
}

func (u *unit) describe() status.Service {
	d := status.Service{
		Name: u.Service.Name, State: string(u.State), Reason: u.Reason, Status: u.status,
		ReadyMs: u.readyAt.Milliseconds(), Restarts: u.Restarts,
		Type: string(u.Service.Type), SinceMs: u.since.Milliseconds(), LastExit: u.LastExit, DroppedLogBytes: u.log.Dropped(),
		Critical: u.Service.Critical, Requires: u.Service.Requires,
	}
	if u.process != nil {
		d.PID = u.process.PID
	}
	return d
}
