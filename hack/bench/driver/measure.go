package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"holdfast/hack/bench/sample"
)

type options struct {
	manager          string
	services, rounds int
	idle             time.Duration
}

const (
	stepLimit = 60 * time.Second      // for anything that is waited for; it takes milliseconds
	settle    = 45 * time.Second      // after the boot, before memory is read: both have petted their watchdog by then
	gap       = 50 * time.Millisecond // between requests that are timed alone
	alone     = 10                    // starts that are timed alone, per round; the others are asked for at once
	warmup    = 3                     // rounds that do not count
	restarts  = 30
)

// manager asks PID 1. What it asks for is under way when it returns.
type manager interface {
	start(names []string) error
	startGroup() error
	stopGroup() error // one request, which stops all services
	// running tells whether one of the services does not count as stopped.
	running() (bool, error)
}

// run is one measurement under way.
type run struct {
	options
	manager manager
	names   []string
	records *records
	guest   sample.Guest
}

func measure(o options) (sample.Guest, error) {
	r := &run{options: o}
	for i := range o.services {
		r.names = append(r.names, fmt.Sprintf("%s%03d", sample.Service, i))
	}
	var err error
	if r.records, err = openRecords(sample.Records); err != nil {
		return r.guest, err
	}
	if err := r.records.skip(o.services); err != nil {
		return r.guest, fmt.Errorf("wait for %d services: %w", o.services, err)
	}
	pause(settle)
	if r.guest.Memory, err = memory(); err != nil {
		return r.guest, err
	}
	if r.guest.Idle, err = watchIdle(o.idle); err != nil || o.rounds == 0 {
		return r.guest, err
	}
	if err := r.restart(); err != nil {
		return r.guest, err
	}
	if err := r.connect(); err != nil {
		return r.guest, err
	}
	return r.guest, r.startAndStop()
}

func (r *run) connect() (err error) {
	switch r.options.manager {
	case "systemd":
		r.manager, err = dialSystemd()
	case "holdfast":
		r.manager, err = dialHoldfast()
	default:
		err = fmt.Errorf("manager %q: expected holdfast or systemd", r.options.manager)
	}
	return err
}

// startAndStop times the start of single services, and the stop of all.
func (r *run) startAndStop() error {
	for round := range r.rounds + warmup {
		stopped, gone, err := r.stopAll()
		if err != nil {
			return fmt.Errorf("stop all services: %w", err)
		}
		pause(gap)
		started, err := r.startAll(round)
		if err != nil {
			return fmt.Errorf("start all services: %w", err)
		}
		pause(gap)
		if round >= warmup {
			r.guest.StopUs = append(r.guest.StopUs, stopped)
			r.guest.GoneUs = append(r.guest.GoneUs, gone)
			r.guest.StartUs = append(r.guest.StartUs, started...)
		}
	}
	return nil
}

// stopAll returns the time until PID 1 said that all are stopped, and until
// their processes were gone.
func (r *run) stopAll() (stopped, gone float64, err error) {
	began := now()
	if err := r.manager.stopGroup(); err != nil {
		return 0, 0, err
	}
	if err := r.records.waitEnd(); err != nil {
		return 0, 0, err
	}
	gone = since(began)
	for deadline := time.Now().Add(stepLimit); time.Now().Before(deadline); {
		running, err := r.manager.running()
		if err != nil {
			return 0, 0, err
		}
		if !running {
			return since(began), gone, nil
		}
	}
	return 0, 0, fmt.Errorf("not all are stopped within %s", stepLimit)
}

// startAll starts some services one by one, others in every round, and the
// rest at once.
func (r *run) startAll(round int) (us []float64, err error) {
	if err := r.manager.startGroup(); err != nil {
		return nil, err
	}
	pause(gap)
	first := round * alone % len(r.names)
	order := append(append([]string{}, r.names[first:]...), r.names[:first]...)
	for _, name := range order[:alone] {
		began := now()
		if err := r.manager.start([]string{name}); err != nil {
			return nil, err
		}
		rec, err := r.records.next()
		if err != nil {
			return nil, err
		}
		us = append(us, micros(rec.at-began))
		pause(gap)
	}
	if err := r.manager.start(order[alone:]); err != nil {
		return nil, err
	}
	return us, r.records.skip(len(order) - alone)
}

// restart times how long a service that ended is away.
func (r *run) restart() error {
	flap, err := openRecords(sample.FlapRecords)
	if err != nil {
		return err
	}
	if err := flap.skip(1); err != nil {
		return fmt.Errorf("wait for the service that restarts: %w", err)
	}
	bell, err := openFIFO(sample.FlapGo, os.O_RDWR)
	if err != nil {
		return err
	}
	defer bell.Close()
	for round := range restarts + warmup {
		pause(gap)
		if _, err := bell.Write([]byte{0}); err != nil {
			return err
		}
		ended, err := flap.next()
		if err != nil {
			return fmt.Errorf("wait for an exit: %w", err)
		}
		began, err := flap.next()
		if err != nil {
			return fmt.Errorf("wait for a restart: %w", err)
		}
		if ended.kind != kindExit || began.kind != kindStart {
			return fmt.Errorf("records %c and %c, expected an exit and a start", ended.kind, began.kind)
		}
		if round >= warmup {
			r.guest.RestartUs = append(r.guest.RestartUs, micros(began.at-ended.at))
		}
	}
	return nil
}

// pause lets PID 1 come to rest: nothing tells when it has.
func pause(d time.Duration) { <-time.After(d) }

// now is CLOCK_MONOTONIC in nanoseconds, the clock of the services' records.
func now() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		panic("clock_gettime: " + errno.Error()) // can't fail for this clock
	}
	return ts.Nano()
}

func since(began int64) float64 { return micros(now() - began) }

func micros(ns int64) float64 { return float64(ns) / 1000 }
