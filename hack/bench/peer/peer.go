// Package peer measures PID 1 beside systemd's: the same kernel, machine, services and measuring program, one after the other.
//
// Each machine has the driver (hack/bench/driver) and some copies of a trivial
// service (trivial/trivial.c). systemd is Debian's, with nothing but PID 1: no
// journald, no udevd, no bus; its services' output goes to /dev/null. Holdfast's
// PID 1 collects its services' output itself, and runs from a verified root.
// Both watchdogs are the kernel's, of the same time.
//
// # Decisions
//
// A start is timed from before the request is written to the manager's socket
// until the service's first instruction, so that it covers everything between:
// the socket, the manager, fork, what sets the child up, and exec. The service
// has no C library and takes its own time first.
//
// A stop is over when the manager says so: the processes' ends alone would
// leave out that they are reaped and their cgroups looked at.
package peer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/hack/bench/sample"
	"holdfast/tests/qemu"
)

// Options are what to measure with.
type Options struct {
	Passes int       // boots of each machine
	Out    io.Writer // progress
}

// scenario is one kind of boot.
type scenario struct {
	name     string
	services int
	idle     time.Duration // 0: not watched
	rounds   int           // 0: nothing is started and stopped
}

// watchdog is the interval in which both managers pet: half of their
// watchdogs' time.
const (
	watchdogTime = 60 * time.Second
	watchdog     = watchdogTime / 2
	intervals    = 4
)

const (
	few  = 20
	many = 220
	act  = 100
)

var scenarios = []scenario{
	{name: "no services"},
	{name: "20 services", services: few, idle: intervals * watchdog},
	{name: "220 services", services: many},
	{name: "100 services, started and stopped", services: act, rounds: 15},
}

// contestant is one PID 1, and what was measured in each scenario.
type contestant struct {
	name   string
	make   func(ctx context.Context, s scenario, p programs, dir string) (qemu.Config, error)
	guests [][]sample.Guest // by scenario
}

// Compare boots both in turn and returns the table.
func Compare(ctx context.Context, o Options) ([]Row, error) {
	dir, err := os.MkdirTemp("", "holdfast-peer-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	p, err := buildPrograms(ctx, dir)
	if err != nil {
		return nil, err
	}
	ours := &contestant{name: "holdfast", make: holdfast}
	theirs := &contestant{name: "systemd", make: systemd}
	for i, s := range scenarios {
		for _, c := range []*contestant{ours, theirs} {
			c.guests = append(c.guests, nil)
		}
		for pass := range o.Passes {
			for _, c := range []*contestant{ours, theirs} {
				g, err := c.boot(ctx, s, p, filepath.Join(dir, c.name))
				if err != nil {
					return nil, fmt.Errorf("measure %s with %s: %w", c.name, s.name, err)
				}
				c.guests[i] = append(c.guests[i], g)
				fmt.Fprintf(o.Out, "%s, %s: boot %d of %d\n", c.name, s.name, pass+1, o.Passes)
			}
		}
	}
	return rows(ours.guests, theirs.guests), nil
}

// boot makes and boots one machine, whose directory is gone afterwards.
func (c *contestant) boot(ctx context.Context, s scenario, p programs, dir string) (sample.Guest, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return sample.Guest{}, err
	}
	defer os.RemoveAll(dir)
	cfg, err := c.make(ctx, s, p, dir)
	if err != nil {
		return sample.Guest{}, err
	}
	return run(ctx, cfg, dir)
}
