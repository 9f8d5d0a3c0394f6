// Package logind serves as much of systemd-logind's D-Bus interface as kubelet's graceful node shutdown asks for.
//
// Kubelet takes a delay inhibitor when it starts, waits for the signal
// PrepareForShutdown, ends its pods by their priority and grace period, and
// lets go of the inhibitor (org.freedesktop.login1(5), "Inhibitor Locks" in
// systemd's documentation). There is no logind and no bus on the node: this
// server is inside kubelet's own process, and talks to nobody else.
package logind

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	path      = dbus.ObjectPath("/org/freedesktop/login1")
	manager   = "org.freedesktop.login1.Manager"
	delayUSec = uint64(24 * time.Hour / time.Microsecond) // PID 1 sets the real limit
)

// Server holds the connections and the inhibitors.
type Server struct {
	listener *net.UnixListener

	mu         sync.Mutex
	clients    []*client
	inhibitors []*os.File // read ends; their end of file is the release
}

// Listen serves on a UNIX socket that only this user can reach.
func Listen(socket string) (*Server, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old bus socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen as logind: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	s := &Server{listener: l}
	go s.accept()
	return s, nil
}

// Close ends the service.
func (s *Server) Close() error { return s.listener.Close() }

// Shutdown announces the shutdown and waits until every inhibitor is released.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	clients, inhibitors := slices.Clone(s.clients), slices.Clone(s.inhibitors)
	s.mu.Unlock()
	for _, c := range clients {
		if err := c.send(signal("PrepareForShutdown", true)); err != nil {
			return fmt.Errorf("announce shutdown: %w", err)
		}
	}
	deadline, _ := ctx.Deadline()
	for _, f := range inhibitors {
		if err := f.SetReadDeadline(deadline); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			return fmt.Errorf("wait for kubelet to end its pods: %w", err)
		}
	}
	return nil
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		c := &client{conn: conn}
		s.mu.Lock()
		s.clients = append(s.clients, c)
		s.mu.Unlock()
		go func() {
			s.serve(c)
			conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.clients = slices.DeleteFunc(s.clients, func(o *client) bool { return o == c })
		}()
	}
}

// serve answers one connection's calls until it ends.
func (s *Server) serve(c *client) {
	r := bufio.NewReader(c.conn)
	if authenticate(r, c.conn) != nil {
		return
	}
	for {
		call, err := dbus.DecodeMessage(r)
		if err != nil {
			return
		}
		if call.Type != dbus.TypeMethodCall {
			continue
		}
		if s.answer(c, call) != nil {
			return
		}
	}
}

// authenticate speaks the server's half of the D-Bus specification's
// "Authentication Protocol"; the socket's mode has already decided.
func authenticate(r *bufio.Reader, w io.Writer) error {
	if nul, err := r.ReadByte(); err != nil || nul != 0 {
		return errors.New("no NUL byte at the beginning")
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		switch command := strings.TrimSpace(string(line)); {
		case command == "AUTH":
			answer = "REJECTED EXTERNAL\r\n"
		case strings.HasPrefix(command, "AUTH EXTERNAL"):
			answer = "OK 686f6c64666173742d6c6f67696e6400\r\n"
		case command == "NEGOTIATE_UNIX_FD":
			answer = "AGREE_UNIX_FD\r\n"
		case command == "BEGIN":
			return nil
		}
		if _, err := io.WriteString(w, answer); err != nil {
			return err
		}
	}
}

// answer carries out one call.
func (s *Server) answer(c *client, call *dbus.Message) error {
	member, _ := call.Headers[dbus.FieldMember].Value().(string)
	switch member {
	case "Hello":
		return c.send(reply(call, ":1.1"))
	case "AddMatch":
		return c.send(reply(call))
	case "Get":
		if len(call.Body) == 2 && call.Body[1] == "InhibitDelayMaxUSec" {
			return c.send(reply(call, dbus.MakeVariant(delayUSec)))
		}
	case "Inhibit":
		return s.inhibit(c, call)
	}
	return c.send(refusal(call))
}

// inhibit hands out the write end of a pipe. Kubelet's process is the only one that has it.
func (s *Server) inhibit(c *client, call *dbus.Message) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	s.mu.Lock()
	s.inhibitors = append(s.inhibitors, r)
	s.mu.Unlock()
	return c.send(reply(call, dbus.UnixFDIndex(0)), int(w.Fd()))
}

// client is one connection.
type client struct {
	conn *net.UnixConn
	mu   sync.Mutex
}

const sendLimit = 5 * time.Second

func (c *client) send(m *dbus.Message, files ...int) error {
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		oob = syscall.UnixRights(files...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	_, _, err := c.conn.WriteMsgUnix(b.Bytes(), oob, nil)
	return err
}

func reply(call *dbus.Message, body ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
	}}
	return sign(m)
}

func refusal(call *dbus.Message) *dbus.Message {
	m := reply(call, "not served here")
	m.Type = dbus.TypeError
	m.Headers[dbus.FieldErrorName] = dbus.MakeVariant("org.freedesktop.DBus.Error.UnknownMethod")
	return m
}

func signal(member string, body ...any) *dbus.Message {
	return sign(&dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant(manager), dbus.FieldMember: dbus.MakeVariant(member),
	}})
}

// sign adds the headers that describe the body.
func sign(m *dbus.Message) *dbus.Message {
	if len(m.Body) == 0 {
		return m
	}
	m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	if _, ok := m.Body[0].(dbus.UnixFDIndex); ok {
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(1))
	}
	return m
}
