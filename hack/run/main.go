// Command run boots the built disk in QEMU, shows the node's console, and prints a summary once the demo pod answers.
//
// An interrupt presses the power button and a second one cuts the power. The
// exit code is 0 when the node came up and went down in order, 1 when it did
// not, 2 for a wrong command line.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.disk, "disk", "build/disk.raw", "disk image to boot; it is not written to")
	flag.StringVar(&o.dir, "dir", "build/run", "directory that keeps the node's state between runs")
	flag.StringVar(&o.vars, "vars", "", "firmware variables (default: the keys on the disk, enrolled once)")
	flag.StringVar(&o.config, "config", "", "file with the node's configuration (NodeConfig)")
	flag.BoolVar(&o.fresh, "fresh", false, "forget the state of earlier runs")
	flag.BoolVar(&o.once, "once", false, "shut the node down after the summary")
	flag.DurationVar(&o.timeout, "timeout", 180*time.Second, "how long the node may take until its pod answers")
	flag.IntVar(&o.memoryMiB, "memory", 2048, "memory, MiB")
	flag.IntVar(&o.cpus, "cpus", 2, "CPUs")
	flag.StringVar(&o.cpu, "cpu", "", "QEMU's CPU model")
	flag.IntVar(&o.port, "port", 0, "port on 127.0.0.1 for the demo pod (default: a free one)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "run: unexpected argument %q; options are listed by -help\n", flag.Arg(0))
		os.Exit(2)
	}
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	if err := run(context.Background(), o, interrupts, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}
