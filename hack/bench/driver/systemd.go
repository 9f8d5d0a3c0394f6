package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"holdfast/hack/bench/sample"
)

// systemd speaks D-Bus to systemd on its private socket, on which there is no
// bus and no other peer: three methods of org.freedesktop.systemd1.Manager.
type systemd struct {
	conn   net.Conn
	in     *bufio.Reader
	serial uint32
}

const (
	systemdSocket = "/run/systemd/private"
	beginTime     = time.Second
)

// dialSystemd connects as root (D-Bus Specification, "Authentication Protocol").
func dialSystemd() (*systemd, error) {
	conn, err := net.DialTimeout("unix", systemdSocket, stepLimit)
	if err != nil {
		return nil, err
	}
	s := &systemd{conn: conn, in: bufio.NewReader(conn)}
	if err := s.login(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in to systemd: %w", err)
	}
	return s, nil
}

func (s *systemd) login() error {
	if err := s.conn.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.conn, "\x00AUTH EXTERNAL 30\r\n"); err != nil { // "0", the user, in hexadecimal
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	if len(line) < 3 || line[:3] != "OK " {
		return fmt.Errorf("answer %q, expected OK", line)
	}
	if _, err := io.WriteString(s.conn, "BEGIN\r\n"); err != nil {
		return err
	}
	// systemd 257 leaves a call lying that it reads together with BEGIN, until
	// more comes; and nothing says when it has read that.
	pause(beginTime)
	return nil
}

func (s *systemd) start(names []string) error {
	units := make([]string, len(names))
	for i, name := range names {
		units[i] = name + ".service"
	}
	return s.each("StartUnit", units...)
}

func (s *systemd) startGroup() error { return s.each("StartUnit", sample.Group+".target") }
func (s *systemd) stopGroup() error  { return s.each("StopUnit", sample.Group+".target") }

// each asks for all units in one write, then reads the answers.
func (s *systemd) each(member string, units ...string) error {
	var out []byte
	for _, unit := range units {
		var body marshaller
		body.str(unit)
		body.str("replace")
		out = append(out, s.call(member, "ss", body)...)
	}
	if err := s.send(out); err != nil {
		return err
	}
	for range units {
		if _, err := s.answer(); err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
	}
	return nil
}

func (s *systemd) running() (bool, error) {
	var body marshaller
	body.strings("active", "reloading", "activating", "deactivating")
	body.strings(sample.Service + "*.service")
	if err := s.send(s.call("ListUnitsByPatterns", "asas", body)); err != nil {
		return false, err
	}
	units, err := s.answer()
	if err != nil {
		return false, fmt.Errorf("list units: %w", err)
	}
	if len(units) < 4 {
		return false, fmt.Errorf("list units: an answer of %d bytes", len(units))
	}
	return binary.LittleEndian.Uint32(units) > 0, nil
}

func (s *systemd) send(b []byte) error {
	if err := s.conn.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// Types of messages.
const (
	methodCall   = 1
	methodReturn = 2
	methodError  = 3
)

// call renders one method call.
func (s *systemd) call(member, signature string, body marshaller) []byte {
	s.serial++
	m := marshaller{'l', methodCall, 0, 1}
	m.uint32(uint32(len(body)))
	m.uint32(s.serial)
	m.uint32(0) // length of the fields, below
	begin := len(m)
	m.field(1, "o", "/org/freedesktop/systemd1")
	m.field(2, "s", "org.freedesktop.systemd1.Manager")
	m.field(3, "s", member)
	m.field(6, "s", "org.freedesktop.systemd1")
	m.field(8, "g", signature)
	binary.LittleEndian.PutUint32(m[begin-4:], uint32(len(m)-begin))
	m.align(8)
	return append(m, body...)
}

const maxMessage = 1 << 20

// answer reads up to the next answer to a call and returns its body; an error
// message is an error.
func (s *systemd) answer() ([]byte, error) {
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(s.in, head); err != nil {
			return nil, err
		}
		bodySize, fields := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[12:])
		if head[0] != 'l' || bodySize > maxMessage || fields > maxMessage {
			return nil, errors.New("not a D-Bus message that is expected here")
		}
		skipped := (fields + 7) &^ 7
		rest := make([]byte, skipped+bodySize)
		if _, err := io.ReadFull(s.in, rest); err != nil {
			return nil, err
		}
		switch head[1] {
		case methodReturn:
			return rest[skipped:], nil
		case methodError:
			return nil, fmt.Errorf("systemd refused: %q", rest[skipped:])
		}
	}
}

// marshaller builds a message by the rules of the D-Bus Specification,
// "Marshaling (Wire Format)", little-endian.
type marshaller []byte

func (m *marshaller) align(n int) {
	for len(*m)%n != 0 {
		*m = append(*m, 0)
	}
}

func (m *marshaller) uint32(v uint32) {
	m.align(4)
	*m = binary.LittleEndian.AppendUint32(*m, v)
}

func (m *marshaller) str(s string) {
	m.uint32(uint32(len(s)))
	*m = append(append(*m, s...), 0)
}

func (m *marshaller) signature(s string) { *m = append(append(append(*m, byte(len(s))), s...), 0) }

func (m *marshaller) strings(list ...string) {
	m.uint32(0)
	at := len(*m)
	for _, s := range list {
		m.str(s)
	}
	binary.LittleEndian.PutUint32((*m)[at-4:], uint32(len(*m)-at))
}

// field adds one header field: its code, and its value with the value's type.
func (m *marshaller) field(code byte, kind, value string) {
	m.align(8)
	*m = append(*m, code)
	m.signature(kind)
	if kind == "g" {
		m.signature(value)
	} else {
		m.str(value)
	}
}
