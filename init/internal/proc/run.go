package proc

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"holdfast/init/internal/guard"
	"holdfast/init/internal/plan"
)

const maxOutput = 64 << 10

// Run runs a program to its end, or kills it at the limit. It returns the
// status and the beginning of its output; err says that it could not be run
// or did not end.
func (r *Reaper) Run(limit time.Duration, args ...string) (Status, string, error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return Status{}, "", err
	}
	p, err := r.Start(Command{Plan: plan.Plan{Args: args, Env: []string{"PATH=/usr/sbin:/usr/bin"}}, Stdout: pw, Stderr: pw})
	pw.Close()
	if err != nil {
		pr.Close()
		return Status{}, "", fmt.Errorf("run %s: %w", args[0], err)
	}
	output := make(chan string, 1)
	guard.Go(func() {
		defer pr.Close()
		text, _ := io.ReadAll(io.LimitReader(pr, maxOutput)) // a broken pipe ends the text, no more
		_, _ = io.Copy(io.Discard, pr)
		output <- string(text)
	})
	select {
	case st := <-p.Exit:
		text := ""
		select {
		case text = <-output:
		case <-time.After(time.Second): // something it left behind holds the pipe
		}
		return st, text, p.Close()
	case <-time.After(limit):
		_ = p.Signal(syscall.SIGKILL)
		return Status{}, "", fmt.Errorf("run %s: not done within %s", args[0], limit)
	}
}
