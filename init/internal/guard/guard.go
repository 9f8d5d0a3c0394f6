// Package guard keeps a panic in a goroutine of PID 1 from ending the machine without a line and a sync.
//
// Go ends a process on a panic that no function of its goroutine recovers,
// and the kernel panics when that process is PID 1. So every goroutine of
// PID 1 is started by Go here; tests/arch refuses a bare go statement.
package guard

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"holdfast/kernel/kmsg"
	"holdfast/kernel/power"
)

const syncLimit = 5 * time.Second

// Go runs f in a goroutine. A panic there is logged; the machine then writes
// what it can to its disks, and restarts.
func Go(f func()) {
	go Run(f)
}

// Run is Go for a goroutine that is there already, such as a timer's.
func Run(f func()) {
	defer func() {
		if v := recover(); v != nil {
			last(v)
		}
	}()
	f()
}

// last ends the machine. In any other process than PID 1, a test's, the panic
// goes on.
func last(v any) {
	if os.Getpid() != 1 {
		panic(v)
	}
	text := fmt.Sprintf("holdfast: panic: %v\n%s", v, debug.Stack())
	log, err := kmsg.Open()
	if err == nil {
		err = log.Write(kmsg.Emerg, text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, text)
	}
	power.Sync(syncLimit)
	err = power.Do(power.Reboot)
	panic(fmt.Sprintf("%v; restart: %v", v, err)) // the kernel's panic is what is left
}
