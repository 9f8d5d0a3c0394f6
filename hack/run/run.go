package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/init/status"
	"holdfast/tests/qemu"
)

const (
	podPort  = 8080
	stopTime = 90 * time.Second // for an orderly shutdown
)

type options struct {
	disk, dir, vars, config string
	fresh, once             bool
	timeout                 time.Duration
	memoryMiB, cpus, port   int
}

var errInterrupted = errors.New("interrupted before the pod answered")

// run boots a node, waits for its pod, prints the summary and keeps the node up
// until an interrupt comes or, with once, stops it right away.
func run(ctx context.Context, o options, interrupts <-chan os.Signal, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	vm, err := startNode(ctx, o, out)
	if err != nil {
		return err
	}
	defer vm.Close()
	s, err := up(ctx, vm, o.timeout, interrupts)
	if errors.Is(err, errInterrupted) {
		return errors.Join(err, shutDown(ctx, vm, interrupts, out))
	}
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\n", render(s), "\n")
	if !o.once {
		fmt.Fprintln(out, "Ctrl-C shuts the node down.")
		select {
		case <-interrupts:
		case <-vm.Done():
		}
	}
	return shutDown(ctx, vm, interrupts, out)
}

// up waits until the node runs and its pod answers.
func up(ctx context.Context, vm *qemu.VM, timeout time.Duration, interrupts <-chan os.Signal) (summary, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the pod did not answer within %v", timeout))
	defer cancel()
	type result struct {
		s   summary
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := serving(ctx, vm)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		if r.err != nil && ctx.Err() != nil {
			r.err = fmt.Errorf("%w: %w", context.Cause(ctx), r.err)
		}
		return r.s, r.err
	case <-interrupts:
		return summary{}, errInterrupted
	}
}

// serving waits for the report that says that the node runs, and for its pod.
func serving(ctx context.Context, vm *qemu.VM) (s summary, err error) {
	settled := func(r status.Report) bool { return r.Phase == status.Running || r.Phase == status.Degraded }
	if s.report, err = vm.WaitStatus(ctx, settled); err != nil {
		return s, withConsole(err, vm)
	}
	if s.report.Phase == status.Degraded {
		return s, withConsole(failedServices(s.report), vm)
	}
	s.url = "http://" + vm.Addr(podPort) + "/"
	if s.podMs, err = ask(ctx, vm, s.url); err != nil {
		return s, withConsole(err, vm)
	}
	// The newest report: what the node noted since it came up belongs to it.
	s.report, err = vm.WaitStatus(ctx, func(status.Report) bool { return true })
	return s, err
}

func failedServices(r status.Report) error {
	var failed []string
	for _, s := range r.Services {
		if s.State == "failed" {
			failed = append(failed, s.Name+" failed: "+s.Reason)
		}
	}
	return fmt.Errorf("the node is degraded: %s", strings.Join(failed, "; "))
}

// withConsole adds the console's last lines to an error that does not show them.
func withConsole(err error, vm *qemu.VM) error {
	lines := vm.ConsoleLines()
	text := ""
	for _, l := range lines[max(0, len(lines)-20):] {
		text += "\n  | " + l.Text
	}
	return fmt.Errorf("%w\nlast console lines:%s", err, text)
}

// ask asks the pod until it answers, and returns since when it serves, in
// milliseconds since the node's kernel started.
func ask(ctx context.Context, vm *qemu.VM, url string) (int64, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ms, err := askOnce(ctx, url)
		if err == nil {
			return ms, nil
		}
		select {
		case <-tick.C:
		case <-vm.Done():
			return 0, errors.New("the machine ended before its pod answered")
		case <-ctx.Done():
			return 0, fmt.Errorf("ask the pod: %w", err)
		}
	}
}

func askOnce(ctx context.Context, url string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		ServingSinceMs int64 `json:"servingSinceMs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("read the pod's answer (%s): %w", resp.Status, err)
	}
	return answer.ServingSinceMs, nil
}

// shutDown presses the power button and waits for the node's orderly end. An
// interrupt meanwhile cuts the power.
func shutDown(ctx context.Context, vm *qemu.VM, interrupts <-chan os.Signal, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTime, fmt.Errorf("the node did not shut down within %v", stopTime))
	defer cancel()
	select {
	case <-vm.Done():
		return ended(ctx, vm)
	default:
	}
	fmt.Fprintln(out, "Shutting the node down; Ctrl-C cuts its power.")
	if err := vm.PowerButton(ctx); err != nil {
		return err
	}
	select {
	case <-vm.Done():
		return ended(ctx, vm)
	case <-interrupts:
		return errors.Join(errors.New("power cut"), vm.Kill())
	case <-ctx.Done():
		return withConsole(context.Cause(ctx), vm)
	}
}

func ended(ctx context.Context, vm *qemu.VM) error {
	exit, err := vm.Wait(ctx)
	if err != nil {
		return err
	}
	if exit.Reason != qemu.GuestShutdown {
		return withConsole(fmt.Errorf("the machine ended by %s, not by an orderly shutdown", exit.Reason), vm)
	}
	return nil
}
