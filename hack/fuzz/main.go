// Command fuzz runs every fuzz target of the repository for a while.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
)

func main() {
	duration := "10s"
	if len(os.Args) > 1 {
		duration = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, duration); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, duration string) error {
	packages, err := exec.CommandContext(ctx, "go", "list", "./...").Output()
	if err != nil {
		return err
	}
	targets := 0
	for _, p := range strings.Fields(string(packages)) {
		list, err := exec.CommandContext(ctx, "go", "test", "-list", "^Fuzz", p).Output()
		if err != nil {
			return fmt.Errorf("list targets of %s: %w", p, err)
		}
		for _, name := range strings.Fields(string(list)) {
			if !strings.HasPrefix(name, "Fuzz") {
				continue
			}
			targets++
			cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", duration, p)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s in %s: %w", name, p, err)
			}
		}
	}
	fmt.Printf("%d fuzz targets ran for %s each without a failure\n", targets, duration)
	return nil
}
