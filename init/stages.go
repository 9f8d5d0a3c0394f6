package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/control"
	"holdfast/init/internal/boot"
	"holdfast/init/internal/guard"
	"holdfast/init/internal/operator"
	"holdfast/init/internal/phase"
	"holdfast/init/internal/proc"
	"holdfast/init/internal/report"
	"holdfast/init/internal/shutdown"
	"holdfast/init/internal/supervise"
	"holdfast/init/spec"
	"holdfast/init/status"
	"holdfast/kernel/input"
	"holdfast/kernel/power"
	"holdfast/kernel/watchdog"
)

// stopLimit is how long all services together may take to stop, so that the
// watchdog's time leaves some for what follows.
func stopLimit(watchdog time.Duration) time.Duration { return watchdog * 5 / 6 }

const socketLimit = time.Second

// stage1 runs from the initrd and never returns.
func stage1() {
	r := report.New(1)
	n := &boot.Node{Report: r}
	err := survive(func() error {
		if err := n.Run(boot.Stage1); err != nil {
			return err
		}
		return n.SwitchRoot()
	})
	fail(report.New(1), err)
}

// stage2 runs from the verified root and never returns.
func stage2() {
	r := report.New(2)
	err := survive(func() error { return runNode(r) })
	fail(r, err)
}

func runNode(r *report.Reporter) error {
	if err := r.Load(); err != nil {
		r.Fault("stage 1 report", err.Error())
	}
	for _, kv := range [][2]string{{"PATH", "/usr/sbin:/usr/bin"}, {"HOME", "/"}} {
		if err := os.Setenv(kv[0], kv[1]); err != nil {
			return err
		}
	}
	if err := power.KeysAsSignal(); err != nil {
		r.Fault("ctrl-alt-del", err.Error())
	}
	reaper := proc.NewReaper()
	requests := listen(reaper)
	pet, limit := arm(r)
	n := &boot.Node{Report: r, Reaper: reaper, Pet: pet}
	services, err := spec.Load(spec.Dir)
	if err != nil {
		return &boot.Error{Step: "load services", Err: err}
	}
	if err := n.Run(boot.Stage2); err != nil {
		return err
	}
	s, err := supervise.New(supervise.Config{
		Services: services, Reaper: reaper, LogDir: "/var/log/holdfast", Now: report.Now,
		Changed: changed(r), Say: r.Say, Fault: r.Fault, Pet: n.Pet, PetEvery: limit / 2,
	})
	if err != nil {
		return &boot.Error{Step: "prepare services", Err: err}
	}
	s.Hold()
	if err := n.Run(boot.Stage2State); err != nil {
		return err
	}
	action := requests.action
	closeSocket := serve(r, s, requests.ask)
	s.Run(requests.down, stopLimit(limit))
	closeSocket()
	r.Update(func(s *status.Report) { s.Phase = status.ShuttingDown })
	r.Publish()
	n.Pet() // what follows is bounded by less than the watchdog's time
	return shutdown.Now(action(), func(text string) { r.Say("shutdown", text) })
}

// serve opens the control socket. A node without one still does its work. The
// calls are ended before file systems are unmounted: some read from there.
func serve(r *report.Reporter, s *supervise.Supervisor, power func(power.Action)) (end func()) {
	server, err := operator.Listen(operator.Config{
		Path: control.Socket, Group: control.GroupReader, Supervisor: s, Power: power, Say: r.Say,
	})
	if err != nil {
		r.Fault("control socket", err.Error())
		return func() {}
	}
	return func() {
		if err := server.Close(socketLimit); err != nil {
			r.Say("shutdown", err.Error())
		}
	}
}

// changed keeps the report's services and phase.
func changed(r *report.Reporter) func([]status.Service) {
	up := false
	return func(list []status.Service) {
		now := phaseOf(list)
		if up && now == status.Booting {
			now = status.Running // a service that comes back is no new boot
		}
		r.Update(func(s *status.Report) {
			s.Services = list
			if s.Phase != status.ShuttingDown {
				s.Phase = now
			}
		})
		if now == status.Running && !up {
			up = true
			r.Say("node", "up")
			guard.Go(func() { measureReady(r) }) // a TPM may take its time
		}
	}
}

func measureReady(r *report.Reporter) {
	if err := phase.Enter("ready"); err != nil {
		r.Fault("measure ready", err.Error())
	}
}

func phaseOf(list []status.Service) status.Phase {
	now := status.Running
	for _, s := range list {
		switch supervise.State(s.State) {
		case supervise.Ready, supervise.Done, supervise.Stopped:
		case supervise.Failed:
			return status.Degraded
		default:
			now = status.Booting
		}
	}
	return now
}

// arm starts the watchdog where the machine has one, and returns what pets it
// and the time that the device granted.
func arm(r *report.Reporter) (pet func(), limit time.Duration) {
	limit = boot.WatchdogLimit()
	w, err := watchdog.Open(limit)
	if err != nil {
		r.Fault("watchdog", err.Error())
		return func() {}, limit
	}
	return func() {
		if err := w.Pet(); err != nil {
			r.Say("watchdog", err.Error())
		}
	}, w.Timeout
}

// requests are the ways in which a machine is asked to go down.
type requests struct {
	ask    func(power.Action)
	down   chan struct{}
	action func() power.Action
}

var presses = map[input.Press]power.Action{input.Power: power.Off, input.Restart: power.Reboot}

// listen reaps children and turns signals and keys into requests: SIGTERM and
// the power button power off, SIGINT and ctrl-alt-del restart.
func listen(reaper *proc.Reaper) requests {
	asked := make(chan power.Action, 4)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	guard.Go(func() {
		for {
			select {
			case <-children:
				reaper.Reap()
			case s := <-signals:
				action := power.Off
				if s == unix.SIGINT {
					action = power.Reboot
				}
				ask(asked, action)
			}
		}
	})
	for _, device := range input.Devices() {
		guard.Go(func() { device.Watch(func(p input.Press) { ask(asked, presses[p]) }) })
	}
	return collect(asked)
}

// ask never blocks: more requests than fit say nothing new.
func ask(asked chan power.Action, a power.Action) {
	select {
	case asked <- a:
	default:
	}
}

// collect remembers the first request's action and passes every request on.
func collect(asked chan power.Action) requests {
	first := make(chan power.Action, 1)
	down := make(chan struct{}, 4)
	guard.Go(func() {
		for a := range asked {
			select {
			case first <- a:
			default:
			}
			select {
			case down <- struct{}{}:
			default:
			}
		}
	})
	return requests{
		ask:    func(a power.Action) { ask(asked, a) },
		down:   down,
		action: func() power.Action { return <-first },
	}
}

// survive turns a panic of the main goroutine into an error.
func survive(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// fail ends a boot that can't go on: one clear line, time to read it, restart.
// PID 1 never exits by itself; should even reboot(2) fail, the watchdog and
// the kernel's own panic are what is left.
func fail(r *report.Reporter, err error) {
	step := "init"
	if be := (*boot.Error)(nil); errors.As(err, &be) {
		step, err = be.Step, be.Err
	}
	delay := boot.PanicDelay()
	r.Fatal(step, fmt.Errorf("%w; restarting in %s", err, delay))
	<-time.After(delay)
	power.Sync(5 * time.Second)
	r.Fatal("restart", power.Do(power.Reboot)) // still here: main returns, the kernel panics and restarts
}
