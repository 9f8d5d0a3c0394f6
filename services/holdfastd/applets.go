package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"holdfast/services/apid"
	"holdfast/services/config"
	"holdfast/services/gate"
	"holdfast/services/netd"
	"holdfast/services/timed"
)

// applets are the daemons by name.
var applets = map[string]func(context.Context) error{
	"apid":   apid.Run,
	"config": config.Run,
	"netd":   netd.Run,
	"timed":  timed.Run,
}

// run carries one out and returns the exit code: 0 done, 1 failed, 2 usage.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 1 && applets[args[0]] != nil {
		err := gate.Wait()
		if err == nil {
			err = applets[args[0]](ctx)
		}
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", args[0], err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(stderr, "usage: holdfastd %s\n", strings.Join(slices.Sorted(maps.Keys(applets)), "|"))
	return 2
}
