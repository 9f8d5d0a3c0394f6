package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"holdfast/init/control"
	"holdfast/init/internal/supervise"
	"holdfast/kernel/seqpacket"
)

// callLimit bounds a call that waits for nothing but the supervision loop,
// waitLimit one that waits for a service.
const (
	callLimit = 10 * time.Second
	waitLimit = 30 * time.Minute
)

// session is one connection: one call.
type session struct {
	server *Server
	conn   *seqpacket.Conn
	peer   seqpacket.Peer
	role   control.Role
	asked  control.Request
}

// errSlow ends the call of a client that does not take its answers.
var errSlow = &control.Error{Code: control.Slow, Text: fmt.Sprintf("answers were not taken within %s", control.AnswerLimit)}

var errClosing = &control.Error{Code: control.Closing, Text: "the machine goes down"}

func (s *session) serve() {
	err := s.call()
	if err == nil {
		err = s.send(control.Answer{End: true})
	}
	if err != nil {
		refuse(s.conn, s.explain(err))
	}
}

// explain turns any error into one that the client can tell apart.
func (s *session) explain(err error) *control.Error {
	if e := (*control.Error)(nil); errors.As(err, &e) {
		return e
	}
	if s.server.ctx.Err() != nil {
		return errClosing
	}
	code := control.Internal
	for known, c := range map[error]control.Code{
		supervise.ErrUnknown: control.Unknown, supervise.ErrDown: control.GoingDown, supervise.ErrFailed: control.Failed,
	} {
		if errors.Is(err, known) {
			code = c
		}
	}
	return &control.Error{Code: code, Text: err.Error()}
}

func (s *session) call() error {
	if refusal := s.server.checkGroup(s.peer); refusal != nil {
		return refusal
	}
	if err := s.receive(); err != nil {
		return err
	}
	c, ok := calls[s.asked.Call]
	switch {
	case !ok:
		return &control.Error{Code: control.BadRequest, Text: fmt.Sprintf("call is %q, want one of %v", s.asked.Call, control.Calls)}
	case !s.role.May(c.needs):
		return &control.Error{Code: control.Forbidden, Text: fmt.Sprintf("%s needs role %s, the caller is %s", s.asked.Call, c.needs, s.role)}
	}
	limit := callLimit
	if c.long || s.asked.Wait {
		if !s.server.slots.take(s.role, true) {
			return &control.Error{Code: control.Busy, Text: fmt.Sprintf("more than %d callers with role %s wait or follow", limits[s.role].long, s.role)}
		}
		defer s.server.slots.give(s.role, true)
		limit = waitLimit
	}
	ctx, cancel := context.WithCancel(s.server.ctx)
	defer cancel()
	if !c.long {
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	s.hangUp(cancel)
	return c.do(s, ctx)
}

func (s *session) receive() error {
	buf := make([]byte, control.MaxRequest)
	n, err := s.conn.Receive(buf, control.RequestLimit)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &control.Error{Code: control.Slow, Text: fmt.Sprintf("no request came within %s", control.RequestLimit)}
	case errors.Is(err, seqpacket.ErrTooLong):
		return &control.Error{Code: control.BadRequest, Text: fmt.Sprintf("request is longer than %d bytes", control.MaxRequest)}
	case err != nil:
		return err
	}
	s.asked, err = control.DecodeRequest(buf[:n])
	return err
}

// hangUp ends the call when the client hangs up, or sends what it should not.
func (s *session) hangUp(cancel context.CancelFunc) {
	s.server.task(func() {
		_, _ = s.conn.Receive(make([]byte, 1), 0) // whatever comes, it is the end
		cancel()
	})
}

func (s *session) send(a control.Answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if len(b) > control.MaxAnswer {
		return fmt.Errorf("answer has %d bytes, more than %d", len(b), control.MaxAnswer)
	}
	if err := s.conn.Send(b, control.AnswerLimit); errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	} else if err != nil {
		return err
	}
	return nil
}
