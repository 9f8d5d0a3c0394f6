// Command actor is every service of a test machine: well-behaved ones, the driver, and many that behave badly.
package main

import (
	"fmt"
	"os"
)

// acts are what a service can be, by its first argument.
var acts = map[string]func(args []string) error{
	"serve":    serve,        // a good service
	"keeper":   keeper,       // a good service that leaves a process behind at its end
	"drive":    drive,        // does what the test asks for
	"exit":     exit,         // ends at once with a status
	"count":    count,        // ends at once until it has been started often enough
	"short":    short,        // a oneshot's work
	"helpers":  helpers,      // a good service that runs short-lived programs all the time
	"orphans":  orphans,      // makes orphans in a burst
	"deaf":     deaf,         // ignores SIGTERM
	"away":     away,         // forks away and ends
	"flood":    flood,        // prints at full speed
	"bomb":     bomb,         // forks at full speed
	"leak":     leak,         // takes memory for ever
	"talk":     talk,         // a good service with very much to say of itself
	"mute":     mute,         // never becomes ready
	"hang":     hang,         // becomes ready and says no more
	"signal":   signalItself, // dies by a signal
	"impostor": impostor,     // says that another service is ready
	"barrier":  barrier,      // waits for PID 1 to take its messages
	"spin":     spin,         // keeps every processor busy and ignores SIGTERM
	"stuck":    stuck,        // can't be killed: waits for a file system that it serves itself
}

func main() {
	act := acts["serve"]
	var args []string
	if len(os.Args) > 1 {
		act, args = acts[os.Args[1]], os.Args[2:]
	}
	if act == nil {
		fmt.Fprintln(os.Stderr, "actor: no act", os.Args[1])
		os.Exit(2)
	}
	if err := act(args); err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
}
