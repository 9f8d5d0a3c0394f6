package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/hack/node"
	"holdfast/tests/qemu"
)

const (
	stopTime   = 90 * time.Second // for an orderly shutdown
	pressEvery = 5 * time.Second  // a press before the kernel listens is lost
)

type options struct {
	disk, dir, vars, config, cpu string
	fresh, once                  bool
	timeout                      time.Duration
	memoryMiB, cpus, port        int
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
func up(ctx context.Context, vm *qemu.VM, timeout time.Duration, interrupts <-chan os.Signal) (node.Up, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the pod did not answer within %v", timeout))
	defer cancel()
	type result struct {
		up  node.Up
		err error
	}
	done := make(chan result, 1)
	go func() {
		up, err := node.Serving(ctx, vm)
		done <- result{up, err}
	}()
	select {
	case r := <-done:
		if r.err != nil && ctx.Err() != nil {
			r.err = fmt.Errorf("%w: %w", context.Cause(ctx), r.err)
		}
		return r.up, r.err
	case <-interrupts:
		return node.Up{}, errInterrupted
	}
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
	fmt.Fprintln(out, node.Stopping)
	again := time.NewTicker(pressEvery)
	defer again.Stop()
	for {
		if err := vm.PowerButton(ctx); err != nil && !errors.Is(err, qemu.ErrEnded) {
			return err
		}
		select {
		case <-again.C:
		case <-vm.Done():
			return ended(ctx, vm)
		case <-interrupts:
			return errors.Join(errors.New("power cut"), vm.Kill())
		case <-ctx.Done():
			return node.WithConsole(context.Cause(ctx), vm)
		}
	}
}

func ended(ctx context.Context, vm *qemu.VM) error {
	exit, err := vm.Wait(ctx)
	if err != nil {
		return err
	}
	if exit.Reason != qemu.GuestShutdown {
		return node.WithConsole(fmt.Errorf("the machine ended by %s, not by an orderly shutdown", exit.Reason), vm)
	}
	return nil
}
