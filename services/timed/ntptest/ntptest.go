// Package ntptest is an NTP server for tests: it speaks real packets and tells the time that a test wants.
package ntptest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"holdfast/services/timed/ntp"
)

// Server answers on a UDP address until it is closed.
type Server struct {
	conn *net.UDPConn
	done chan struct{}

	mu       sync.Mutex
	behave   Behaviour
	requests int
}

// Behaviour is how a server answers.
type Behaviour struct {
	Now    func() time.Time  // its clock; nil: it is silent
	Change func(*ntp.Packet) // what it changes in an otherwise good answer
	Before [][]byte          // what it sends ahead of the answer
	Delay  time.Duration     // how long a request is on its way
}

// Listen starts a server.
func Listen(address string, b Behaviour) (*Server, error) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("start NTP server: %w", err)
	}
	s := &Server{conn: conn, done: make(chan struct{}), behave: b}
	go s.serve()
	return s, nil
}

// Port is the UDP port that the server has.
func (s *Server) Port() uint16 { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// Behave replaces the server's behaviour.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behave = b
}

// Requests counts what the server was asked.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Close ends the server.
func (s *Server) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

func (s *Server) serve() {
	defer close(s.done)
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue // an earlier answer found nobody
		}
		s.mu.Lock()
		s.requests++
		b := s.behave
		s.mu.Unlock()
		q, err := ntp.Parse(buf[:n])
		if err != nil || q.Mode != ntp.Client || b.Now == nil {
			continue
		}
		if b.Delay > 0 {
			<-time.After(b.Delay)
		}
		for _, other := range append(b.Before, b.answer(q).Encode()) {
			_, _ = s.conn.WriteToUDP(other, from) // the client sees what is missing
		}
	}
}

func (b Behaviour) answer(q ntp.Packet) ntp.Packet {
	now := b.Now()
	p := ntp.Packet{
		Version: q.Version, Mode: ntp.Server, Stratum: 2, Poll: q.Poll, Precision: -20,
		RootDelay: ntp.ShortOf(time.Millisecond), RootDispersion: ntp.ShortOf(time.Millisecond),
		ReferenceID: [4]byte{192, 0, 2, 1}, Reference: ntp.TimestampOf(now.Add(-time.Minute)),
		Origin: q.Transmit, Receive: ntp.TimestampOf(now), Transmit: ntp.TimestampOf(b.Now()),
	}
	if b.Change != nil {
		b.Change(&p)
	}
	return p
}
