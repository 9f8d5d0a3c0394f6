package main

import (
	"context"
	"strings"
	"sync"

	"holdfast/hack/bench/sample"
	"holdfast/init/control"
)

// holdfast asks Holdfast's PID 1 over its control socket. Every call is a
// connection of its own.
type holdfast struct{ client *control.Client }

func dialHoldfast() (*holdfast, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	client, err := control.Dial(ctx, control.Socket)
	if err != nil {
		return nil, err
	}
	return &holdfast{client}, nil
}

func (h *holdfast) start(names []string) error { return each(names, h.client.Start) }
func (h *holdfast) startGroup() error          { return each([]string{sample.Group}, h.client.Start) }
func (h *holdfast) stopGroup() error           { return each([]string{sample.Group}, h.client.Stop) }

// callers is how many calls are under way at once; PID 1 refuses too many.
const callers = 4

// each makes the calls in the order of the names.
func each(names []string, call func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	todo := make(chan string, len(names))
	for _, name := range names {
		todo <- name
	}
	close(todo)
	var done sync.WaitGroup
	for range min(callers, len(names)) {
		done.Go(func() {
			for name := range todo {
				if err := call(ctx, name); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	done.Wait()
	return context.Cause(ctx)
}

func (h *holdfast) running() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	list, err := h.client.List(ctx)
	for _, s := range list {
		if strings.HasPrefix(s.Name, sample.Service) && s.State != "stopped" {
			return true, err
		}
	}
	return false, err
}
