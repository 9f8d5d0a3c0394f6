package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/init/control"
	"holdfast/tests/bed/wire"
)

const controlLimit = 3 * time.Minute

// dialControl connects to PID 1's control socket; closing ends the context, too.
func dialControl() (c *control.Client, ctx context.Context, closing func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), controlLimit)
	if c, err = control.Dial(ctx, control.Socket); err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return c, ctx, func() {
		_ = c.Close() // it never fails
		cancel()
	}, nil
}

// callControl makes the call that Text names. Start, stop and restart wait.
func callControl(r wire.Request) (any, error) {
	c, ctx, closing, err := dialControl()
	if err != nil {
		return nil, err
	}
	defer closing()
	switch call := control.Call(r.Text); call {
	case control.CallList:
		return c.List(ctx)
	case control.CallStatus:
		return c.Status(ctx, r.Service)
	case control.CallStart:
		return nil, c.StartWait(ctx, r.Service)
	case control.CallStop:
		return nil, c.StopWait(ctx, r.Service)
	case control.CallRestart:
		return nil, c.RestartWait(ctx, r.Service)
	case control.CallLogs:
		var out bytes.Buffer
		err := c.Logs(ctx, r.Service, control.LogOptions{Lines: 100}, &out)
		return out.String(), err
	case control.CallPowerOff:
		return nil, c.PowerOff(ctx)
	case control.CallReboot:
		return nil, c.Reboot(ctx)
	default:
		return nil, fmt.Errorf("call %q is not offered here", call)
	}
}

// collectEvents subscribes to events, makes the call that Text names, and
// returns all events until the service comes to a state.
func collectEvents(r wire.Request) (any, error) {
	c, ctx, closing, err := dialControl()
	if err != nil {
		return nil, err
	}
	defer closing()
	var all []control.Event
	seen := errors.New("seen")
	err = c.Events(ctx, func(e control.Event) error {
		if all = append(all, e); len(all) == 1 { // so the subscription is there
			if _, err := callControl(r); err != nil {
				return err
			}
		}
		if e.Kind == control.EventState && e.Service == r.Service && e.State == r.State {
			return seen
		}
		return nil
	})
	if errors.Is(err, seen) {
		err = nil
	}
	return all, err
}
