package bed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/tests/bed/wire"
)

// maxAnswer bounds one answer, in bytes.
const maxAnswer = 32 << 20

// driver is the host's end of the driver's port.
type driver struct {
	conn net.Conn

	mu      sync.Mutex
	last    int64
	waiting map[int64]chan wire.Answer
}

func newDriver(conn net.Conn) *driver {
	d := &driver{conn: conn, waiting: map[int64]chan wire.Answer{}}
	go d.read(conn)
	return d
}

func (d *driver) close() { d.conn.Close() }

// read hands out answers until the port ends. A line that is none was torn by
// the end of a driver.
func (d *driver) read(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxAnswer)
	for in.Scan() {
		var a wire.Answer
		if err := json.Unmarshal(in.Bytes(), &a); err != nil {
			continue
		}
		d.mu.Lock()
		to := d.waiting[a.ID]
		delete(d.waiting, a.ID)
		d.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
}

// call asks for an operation and decodes its result into out, if that is not nil.
func (d *driver) call(ctx context.Context, r wire.Request, out any) error {
	answer := make(chan wire.Answer, 1)
	if err := d.send(r, answer); err != nil {
		return err
	}
	select {
	case a := <-answer:
		switch {
		case a.Errno != 0:
			return fmt.Errorf("driver: %s: %w", r.Op, a.Errno)
		case a.Error != "":
			return fmt.Errorf("driver: %s: %w", r.Op, errors.New(a.Error))
		case out == nil:
			return nil
		}
		return json.Unmarshal(a.Value, out)
	case <-ctx.Done():
		return fmt.Errorf("ask the driver to %s: %w", r.Op, ctx.Err())
	}
}

// send asks for an operation whose answer, if it comes, goes to a channel.
func (d *driver) send(r wire.Request, answer chan wire.Answer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	r.ID = d.last
	d.waiting[r.ID] = answer
	if err := json.NewEncoder(d.conn).Encode(r); err != nil {
		return fmt.Errorf("ask the driver to %s: %w", r.Op, err)
	}
	return nil
}

// do is call for a test, which ends when it fails.
func (b *Bed) do(r wire.Request, out any) {
	b.t.Helper()
	if err := b.try(r, out); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Bed) try(r wire.Request, out any) error {
	ctx, cancel := b.context()
	defer cancel()
	return b.driver.call(ctx, r, out)
}

// Read reads a file of the machine.
func (b *Bed) Read(path string) (text string) {
	b.t.Helper()
	b.do(wire.Request{Op: "read", Path: path}, &text)
	return text
}

// Write writes an existing file, or a new one.
func (b *Bed) Write(path, text string) {
	b.t.Helper()
	b.do(wire.Request{Op: "write", Path: path, Text: text}, nil)
}

// Send writes a file and does not wait for an answer: the machine may not live
// to give one.
func (b *Bed) Send(path, text string) {
	b.t.Helper()
	b.post(wire.Request{Op: "write", Path: path, Text: text})
}

// Kill sends a signal to a process. A driver that kills its machine, or
// itself, may not come to answer: nobody waits for it.
func (b *Bed) Kill(pid int, sig syscall.Signal) {
	b.t.Helper()
	b.post(wire.Request{Op: "kill", PID: pid, Signal: int(sig)})
}

func (b *Bed) post(r wire.Request) {
	b.t.Helper()
	if err := b.driver.send(r, make(chan wire.Answer, 1)); err != nil {
		b.t.Fatal(err)
	}
}

// Processes lists the machine's processes without the kernel's threads.
func (b *Bed) Processes() (all []wire.Process) {
	b.t.Helper()
	b.do(wire.Request{Op: "processes"}, &all)
	return all
}

// Within lists the processes of a service's cgroup.
func (b *Bed) Within(service string) (all []wire.Process) {
	b.t.Helper()
	group := "/system/" + service
	for _, p := range b.Processes() {
		if p.Cgroup == group || strings.HasPrefix(p.Cgroup, group+"/") {
			all = append(all, p)
		}
	}
	return all
}

// Usage tells what a process holds.
func (b *Bed) Usage(pid int) (u wire.Usage) {
	b.t.Helper()
	b.do(wire.Request{Op: "usage", PID: pid}, &u)
	return u
}

// Run runs the actor in the driver's cgroup to its end.
func (b *Bed) Run(args ...string) (e wire.Exit) {
	b.t.Helper()
	b.do(wire.Request{Op: "run", Args: args}, &e)
	return e
}

// Uptime is the time since the machine's kernel started.
func (b *Bed) Uptime() time.Duration {
	b.t.Helper()
	var sec float64
	if _, err := fmt.Sscan(b.Read("/proc/uptime"), &sec); err != nil {
		b.t.Fatal(err)
	}
	return time.Duration(sec * float64(time.Second))
}
