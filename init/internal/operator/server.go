// Package operator serves PID 1's control socket; package control has the protocol.
//
// # Decisions
//
// A connection has a goroutine of its own and holds one of a fixed number of
// slots of its caller's role. Only its questions to the supervisor reach the
// supervision loop, and the loop never waits for an answer to be taken. A
// caller without a role, or without a slot, gets one message that does not
// wait, and costs nothing after it.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"holdfast/init/control"
	"holdfast/init/internal/guard"
	"holdfast/init/internal/supervise"
	"holdfast/kernel/power"
	"holdfast/kernel/seqpacket"
)

// Config is what a server works with.
type Config struct {
	Path       string
	Group      uint32 // whose members are readers
	Supervisor *supervise.Supervisor
	Power      func(power.Action)        // asks the machine to go down
	Say        func(source, text string) // one line for the console
}

// Server is a listening control socket.
type Server struct {
	Config
	listener *seqpacket.Listener
	slots    slots

	ctx   context.Context
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	conns map[*seqpacket.Conn]struct{} // nil: closed
}

// Listen makes the socket and serves it.
func Listen(c Config) (*Server, error) {
	l, err := seqpacket.Listen(c.Path, int(c.Group), 0o660)
	if err != nil {
		return nil, err
	}
	s := &Server{Config: c, listener: l, conns: map[*seqpacket.Conn]struct{}{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.task(s.accept)
	return s, nil
}

// task runs f in a goroutine that Close waits for.
func (s *Server) task(f func()) {
	s.tasks.Add(1)
	guard.Go(func() {
		defer s.tasks.Done()
		f()
	})
}

// Close ends every call, so that none holds a file open, and waits for that up
// to limit.
func (s *Server) Close(limit time.Duration) error {
	err := s.listener.Close()
	s.end()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		refuse(c, errClosing)
	}
	done := make(chan struct{})
	guard.Go(func() { s.tasks.Wait(); close(done) })
	select {
	case <-done:
		return err
	case <-time.After(limit):
		return errors.Join(err, fmt.Errorf("close control socket: calls were still under way after %s", limit))
	}
}

const acceptPause = 100 * time.Millisecond // after an error: the machine is short of something

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
			s.admit(conn)
		case errors.Is(err, os.ErrClosed):
			return
		default:
			s.Say("control", err.Error())
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// admit gives a caller its slot. It does not wait for anything.
func (s *Server) admit(conn *seqpacket.Conn) {
	peer, err := conn.Peer()
	if err != nil {
		refuse(conn, &control.Error{Code: control.Refused, Text: err.Error()})
		return
	}
	role := s.roleOf(peer)
	refusal := s.seat(conn, role)
	if refusal != nil {
		peer.Close()
		refuse(conn, refusal)
		return
	}
	s.task(func() {
		defer s.leave(conn, role)
		defer peer.Close()
		(&session{server: s, conn: conn, peer: peer, role: role}).serve()
	})
}

// seat enters a connection in the books.
func (s *Server) seat(conn *seqpacket.Conn, role control.Role) *control.Error {
	if role == control.Nobody {
		return s.nobody()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return errClosing
	}
	if !s.slots.take(role, false) {
		return &control.Error{Code: control.Busy, Text: fmt.Sprintf("more than %d callers with role %s at once", limits[role].all, role)}
	}
	s.conns[conn] = struct{}{}
	return nil
}

func (s *Server) leave(conn *seqpacket.Conn, role control.Role) {
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	conn.Close()
	s.slots.give(role, false)
}

// refuse says why and hangs up.
func refuse(conn *seqpacket.Conn, e *control.Error) {
	if b, err := json.Marshal(control.Answer{End: true, Error: e}); err == nil {
		_ = conn.SendLast(b) // nobody waits for one that does not take it
	}
	conn.Close()
}
