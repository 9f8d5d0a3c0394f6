// Command build makes a node's disk image from source.
//
// It installs the host packages that it needs, fetches and builds the kernel,
// the components and the root's Debian packages (all cached), and assembles
// root, UKI and disk under build/. With -keys it makes only the development
// keys; with -reproduce it builds the kernel twice and compares.
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
	flag.StringVar(&o.series, "series", "", "kernel series: 6.18 (default) or 6.12")
	flag.StringVar(&o.version, "version", "0.1.0", "version of the release")
	flag.StringVar(&o.out, "out", "build", "directory for the results")
	flag.StringVar(&o.keys, "keys", "", "directory with Secure Boot keys (default: development keys in the cache)")
	flag.StringVar(&o.posture, "posture", "enforce", "what an unmet posture does: enforce or report")
	flag.StringVar(&o.only, "only", "", "stop after: packages, keys, kernel, components")
	flag.BoolVar(&o.reproduce, "reproduce", false, "build the kernel twice and compare")
	flag.BoolVar(&o.again, "again", false, "make the root anew, whatever the cache has")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
