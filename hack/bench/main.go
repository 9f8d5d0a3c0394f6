// Command bench measures size, boot time and memory, and PID 1 beside systemd, and prints each figure beside its limit.
//
// The exit code is 0 when every figure is within its limit, 1 when one is not
// or could not be measured, 2 for a wrong command line.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "build", "build", "directory of the built release")
	flag.IntVar(&o.boots, "boots", 5, "boots to take medians of")
	flag.IntVar(&o.passes, "passes", 2, "boots of each machine in which PID 1 is measured beside systemd")
	flag.StringVar(&o.only, "only", "", "measure only this: sizes, boots, memory, start or peer")
	flag.Parse()
	if flag.NArg() > 0 || o.boots < 1 || o.passes < 1 || !o.known() {
		fmt.Fprintln(os.Stderr, "bench: expected no arguments, at least one boot and a measurement that exists; options are listed by -help")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
