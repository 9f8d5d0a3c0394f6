// Package boot is the way from the kernel's hand-over to supervised services, as two tables of steps.
//
// Stage 1 runs from the UKI's initrd and ends by executing the same program
// from the verified root; stage 2 makes that root a running system. A step
// that fails ends the boot, unless it is marked as one that a node survives:
// then it becomes a fault in the status.
package boot

import (
	"fmt"
	"time"

	"holdfast/init/internal/proc"
	"holdfast/init/internal/report"
	"holdfast/kernel/block"
	"holdfast/kernel/cmdline"
	"holdfast/rootfs/gpt"
)

// Node is what the steps learn and pass on.
type Node struct {
	Report *report.Reporter
	Reaper *proc.Reaper
	Pet    func() // pets the watchdog between steps

	cmdline  cmdline.Line
	rootHash [32]byte
	disk     block.Disk // the disk that holds the root
	table    *gpt.Table
	rootDev  string
	hashDev  string
}

// Step is one boot step. Do returns a short detail for the console.
type Step struct {
	Name    string
	Survive bool // a failure is a fault, not the end of the boot
	Do      func(*Node) (detail string, err error)
}

// Error is a failed step.
type Error struct {
	Step string
	Err  error
}

func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Run carries out the steps in order.
func (n *Node) Run(steps []Step) error {
	for _, s := range steps {
		began := report.Now()
		detail, err := s.Do(n)
		switch {
		case err != nil && !s.Survive:
			return &Error{s.Name, err}
		case err != nil:
			n.Report.Fault(s.Name, err.Error())
		default:
			n.Report.Step(s.Name, detail, began)
		}
		if n.Pet != nil {
			n.Pet()
		}
	}
	return nil
}

// run executes a program of the verified root and returns its status. Its
// output belongs to the caller's log only when it fails.
func (n *Node) run(limit time.Duration, args ...string) (proc.Status, string, error) {
	return n.Reaper.Run(limit, args...)
}

// PanicDelay is how long a failed boot shows its reason before it restarts:
// the panic= of the command line, in seconds.
func PanicDelay() time.Duration {
	line, err := readCmdline()
	if err != nil {
		return 10 * time.Second
	}
	var sec int
	v, _ := line.Get("panic")
	if _, err := fmt.Sscan(v, &sec); err != nil || sec < 1 || sec > 300 {
		sec = 10
	}
	return time.Duration(sec) * time.Second
}

// The watchdog's time. Below 40 s it cuts a shutdown short that has
// to force things, see package shutdown.
const (
	watchdogLimit = 60 * time.Second
	watchdogLeast = 2 * time.Second
	watchdogMost  = 10 * time.Minute
)

// WatchdogLimit is how long PID 1 may be silent before the watchdog restarts
// the machine: the holdfast.watchdog= of the command line, a duration.
func WatchdogLimit() time.Duration {
	line, err := readCmdline()
	if err != nil {
		return watchdogLimit
	}
	return watchdogTime(line)
}

// watchdogTime takes a value that can't be meant for none.
func watchdogTime(line cmdline.Line) time.Duration {
	v, _ := line.Get("holdfast.watchdog")
	if d, err := time.ParseDuration(v); err == nil && d >= watchdogLeast && d <= watchdogMost {
		return d
	}
	return watchdogLimit
}
