package operator

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"holdfast/init/control"
	"holdfast/init/internal/logs"
	"holdfast/init/internal/supervise"
	"holdfast/init/status"
	"holdfast/kernel/cgroup"
	"holdfast/kernel/power"
)

// calls maps each call to the role that it needs, and to what it does. A long
// one has no limit in time.
var calls = map[control.Call]struct {
	needs control.Role
	long  bool
	do    func(*session, context.Context) error
}{
	control.CallHello:    {needs: control.Reader, do: (*session).hello},
	control.CallList:     {needs: control.Reader, do: (*session).list},
	control.CallStatus:   {needs: control.Reader, do: (*session).status},
	control.CallLogs:     {needs: control.Reader, long: true, do: (*session).logs},
	control.CallEvents:   {needs: control.Reader, long: true, do: (*session).events},
	control.CallStart:    {needs: control.Operator, do: order(supervise.OrderStart)},
	control.CallStop:     {needs: control.Operator, do: order(supervise.OrderStop)},
	control.CallRestart:  {needs: control.Operator, do: order(supervise.OrderRestart)},
	control.CallPowerOff: {needs: control.Operator, do: down(power.Off)},
	control.CallReboot:   {needs: control.Operator, do: down(power.Reboot)},
}

func (s *session) hello(context.Context) error {
	return s.send(control.Answer{Hello: &control.Hello{Version: control.Version, Role: s.role}})
}

func (s *session) list(ctx context.Context) error {
	list, err := s.server.Supervisor.List(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := s.describe(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) status(ctx context.Context) error {
	d, err := s.server.Supervisor.Status(ctx, s.asked.Service)
	if err != nil {
		return err
	}
	return s.describe(d)
}

// describe reads what the service uses, at this moment, and answers.
func (s *session) describe(d status.Service) error {
	path, err := s.server.Supervisor.Cgroup(d.Name)
	if err != nil {
		return err
	}
	use, err := cgroup.Read(path)
	if err != nil {
		return err
	}
	return s.send(control.Answer{Service: &control.Service{
		Service: d, MemoryBytes: use.Memory, MemoryPeakBytes: use.MemoryPeak, CPUUsec: use.CPU.Microseconds(),
	}})
}

func order(o supervise.Order) func(*session, context.Context) error {
	return func(s *session, ctx context.Context) error {
		do := s.server.Supervisor.Do
		if s.asked.Wait {
			do = s.server.Supervisor.DoWait
		}
		if _, err := s.server.Supervisor.Cgroup(s.asked.Service); err != nil {
			return err // before it is said on the console
		}
		s.say()
		return do(ctx, o, s.asked.Service)
	}
}

func down(a power.Action) func(*session, context.Context) error {
	return func(s *session, _ context.Context) error {
		s.say()
		s.server.Power(a)
		return nil
	}
}

// say puts on record who changes something.
func (s *session) say() {
	name := "unknown"
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.peer.PID)); err == nil {
		name = logs.Printable(strings.TrimSpace(string(b)))
	}
	s.server.Say("control", fmt.Sprintf("%s: asked by process %d (%s)", s.asked, s.peer.PID, name))
}

func (s *session) events(ctx context.Context) error {
	w, leave, err := s.server.Supervisor.Watch(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := s.send(control.Answer{Event: &e}); err != nil {
				return err
			}
		}
	}
}

func (s *session) logs(ctx context.Context) error {
	l, err := s.server.Supervisor.Log(s.asked.Service)
	if err != nil {
		return err
	}
	o := logs.Options{Lines: s.asked.Lines, Follow: s.asked.Follow, Previous: s.asked.Previous}
	if s.asked.SinceMs > 0 {
		o.Since = time.UnixMilli(s.asked.SinceMs)
	}
	return l.Read(ctx, o, s.lines)
}

// lineRoom is what a line takes in an answer beside its text, at most; the
// text itself grows by a third.
const (
	lineRoom   = 64
	answerRoom = control.MaxAnswer - 1024
)

// lines answers with as many lines at once as fit.
func (s *session) lines(lines []logs.Line) error {
	var a control.Answer
	size := 0
	for _, l := range lines {
		need := lineRoom + (len(l.Text)+2)/3*4
		if size+need > answerRoom && len(a.Lines) > 0 {
			if err := s.send(a); err != nil {
				return err
			}
			a.Lines, size = a.Lines[:0], 0
		}
		a.Lines, size = append(a.Lines, wire(l)), size+need
	}
	return s.send(a)
}

func wire(l logs.Line) control.Line {
	kinds := map[logs.Kind]control.LineKind{
		logs.Whole: control.LineWhole, logs.Piece: control.LinePiece, logs.Mark: control.LineMark, logs.Foreign: control.LineForeign,
	}
	out := control.Line{Kind: kinds[l.Kind], Text: l.Text}
	if !l.At.IsZero() {
		out.AtMs = l.At.UnixMilli()
	}
	return out
}
