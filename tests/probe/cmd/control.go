package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"time"

	"holdfast/init/control"
)

const controlLimit = time.Minute

// controlOp makes one call over PID 1's control socket.
func controlOp(v url.Values) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), controlLimit)
	defer cancel()
	c, err := control.Dial(ctx, control.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	name := v.Get("service")
	switch call := control.Call(v.Get("call")); call {
	case control.CallHello:
		return c.Role(), nil
	case control.CallList:
		return c.List(ctx)
	case control.CallRestart:
		return none{}, c.RestartWait(ctx, name)
	case control.CallLogs:
		var out bytes.Buffer
		err := c.Logs(ctx, name, control.LogOptions{Lines: 100, Times: true}, &out)
		return out.String(), err
	case control.CallPowerOff:
		return none{}, c.PowerOff(ctx)
	default:
		return nil, fmt.Errorf("call %q is not offered here", call)
	}
}
