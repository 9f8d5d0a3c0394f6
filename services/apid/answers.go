package apid

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/services/api"
	"holdfast/services/nodeconfig"
)

// answers are the calls that answer once.
var answers = map[string]func(*ask) (any, error){
	api.GetVersion:     (*ask).version,
	api.GetStatus:      (*ask).status,
	api.GetPosture:     (*ask).posture,
	api.GetBoot:        (*ask).boot,
	api.ListServices:   (*ask).list,
	api.GetService:     (*ask).describe,
	api.StartService:   order((*control.Client).Start, (*control.Client).StartWait),
	api.StopService:    order((*control.Client).Stop, (*control.Client).StopWait),
	api.RestartService: order((*control.Client).Restart, (*control.Client).RestartWait),
	api.Reboot:         down((*control.Client).Reboot),
	api.PowerOff:       down((*control.Client).PowerOff),
	api.ValidateConfig: (*ask).validate,
}

// streams are the calls that go on answering.
var streams = map[string]func(*ask, func(...any) error) error{
	api.ReadLogs:    (*ask).logs,
	api.WatchEvents: (*ask).events,
}

// maxReport bounds what is read of PID 1's report.
const maxReport = 1 << 20

func (a *ask) report() (*status.Report, error) {
	f, err := os.Open(a.Report)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r status.Report
	if err := json.NewDecoder(io.LimitReader(f, maxReport)).Decode(&r); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Report, err)
	}
	return &r, nil
}

func (a *ask) version() (any, error) {
	r, err := a.report()
	if err != nil {
		return nil, err
	}
	return api.Version{Version: r.Version, Node: a.Node(), BootID: r.BootID, User: a.who.Name, Role: string(a.who.Role)}, nil
}

func (a *ask) status() (any, error) {
	r, err := a.report()
	if err != nil {
		return nil, err
	}
	services, err := a.services()
	if err != nil {
		return nil, err
	}
	s := api.Status{
		Node: a.Node(), Version: r.Version, BootID: r.BootID, Phase: r.Phase, Time: a.Now().UTC(), Services: services,
		Posture: r.Posture, Faults: r.Faults, Memory: r.Memory, UptimeMs: uptime().Milliseconds(),
	}
	if s.Faults == nil {
		s.Faults = []status.Fault{}
	}
	return s, nil
}

// uptime is the time since the kernel started; 0 where it can't be read.
func uptime() time.Duration {
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	seconds, _, _ := bytes.Cut(data, []byte(" "))
	d, err := time.ParseDuration(string(seconds) + "s")
	if err != nil {
		return 0
	}
	return d
}

func (a *ask) posture() (any, error) {
	r, err := a.report()
	if err != nil {
		return nil, err
	}
	return r.Posture, nil
}

func (a *ask) boot() (any, error) {
	r, err := a.report()
	if err != nil {
		return nil, err
	}
	return api.Boot{BootID: r.BootID, Firmware: r.Firmware, Steps: append([]status.Step{}, r.Steps...)}, nil
}

func (a *ask) services() ([]control.Service, error) {
	c, err := a.pid1(a.ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.List(a.ctx)
	return append([]control.Service{}, list...), err
}

func (a *ask) list() (any, error) {
	list, err := a.services()
	return api.Services{Services: list}, err
}

func (a *ask) describe() (any, error) {
	c, err := a.pid1(a.ctx)
	if err != nil {
		return nil, err
	}
	return c.Status(a.ctx, a.service)
}

// order starts, stops or restarts, and answers with what came of it.
func order(do, doWait func(*control.Client, context.Context, string) error) func(*ask) (any, error) {
	return func(a *ask) (any, error) {
		c, err := a.pid1(a.ctx)
		if err != nil {
			return nil, err
		}
		ask := do
		if a.query.bools["wait"] {
			ask = doWait
		}
		if err := ask(c, a.ctx, a.service); err != nil {
			return nil, err
		}
		return c.Status(a.ctx, a.service)
	}
}

func down(do func(*control.Client, context.Context) error) func(*ask) (any, error) {
	return func(a *ask) (any, error) {
		c, err := a.pid1(a.ctx)
		if err != nil {
			return nil, err
		}
		return api.Accepted{Accepted: true}, do(c, a.ctx)
	}
}

func (a *ask) validate() (any, error) {
	_, faults := nodeconfig.Parse(a.body, "document")
	v := api.Verdict{Valid: len(faults) == 0, Faults: []api.Fault{}}
	for _, f := range faults {
		v.Faults = append(v.Faults, api.Fault{Line: f.Line, Path: f.Path, Text: f.Text})
	}
	return v, nil
}

func (a *ask) logs(emit func(...any) error) error {
	c, err := a.pid1(a.ctx)
	if err != nil {
		return err
	}
	o := control.LogOptions{Lines: a.query.ints["lines"], Since: a.query.times["since"], Follow: a.query.bools["follow"], Previous: a.query.bools["previous"]}
	return c.Lines(a.ctx, a.service, o, func(lines []control.Line) error {
		items := make([]any, len(lines))
		for i, l := range lines {
			items[i] = line(l)
		}
		return emit(items...)
	})
}

func line(l control.Line) api.Line {
	out := api.Line{Kind: l.Kind}
	if l.AtMs != 0 {
		at := time.UnixMilli(l.AtMs).UTC()
		out.Time = &at
	}
	if utf8.Valid(l.Text) {
		out.Text = string(l.Text)
	} else {
		out.Bytes = l.Text
	}
	return out
}

func (a *ask) events(emit func(...any) error) error {
	c, err := a.pid1(a.ctx)
	if err != nil {
		return err
	}
	return c.Events(a.ctx, func(e control.Event) error { return emit(e) })
}
