package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"holdfast/kernel/seqpacket"
)

// callLimit is the most that a call may take which does not wait for a service
// or follow anything, where the context has no earlier deadline.
const callLimit = 15 * time.Second

// Client calls PID 1. Several goroutines may use it; each call has a
// connection of its own.
type Client struct {
	path  string
	hello Hello

	closed context.Context
	close  context.CancelFunc
}

// Dial makes sure that PID 1 listens on a socket and that the caller has a
// role. An error has a Code where PID 1, or the socket's mode, refused it.
func Dial(ctx context.Context, path string) (*Client, error) {
	c := &Client{path: path}
	c.closed, c.close = context.WithCancel(context.Background())
	err := c.short(ctx, Request{Call: CallHello}, func(a Answer) error {
		if a.Hello != nil {
			c.hello = *a.Hello
		}
		return nil
	})
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// Close ends every call under way.
func (c *Client) Close() error {
	c.close()
	return nil
}

// Role is the caller's.
func (c *Client) Role() Role { return c.hello.Role }

// List describes every service, in dependency order.
func (c *Client) List(ctx context.Context) (list []Service, err error) {
	err = c.short(ctx, Request{Call: CallList}, func(a Answer) error {
		if a.Service != nil {
			list = append(list, *a.Service)
		}
		return nil
	})
	return list, err
}

// Status describes one service.
func (c *Client) Status(ctx context.Context, name string) (s Service, err error) {
	err = c.short(ctx, Request{Call: CallStatus, Service: name}, func(a Answer) error {
		if a.Service != nil {
			s = *a.Service
		}
		return nil
	})
	return s, err
}

// Start makes a service run, and all that it requires. It returns when that is
// under way.
func (c *Client) Start(ctx context.Context, name string) error {
	return c.short(ctx, Request{Call: CallStart, Service: name}, nil)
}

// Stop ends a service, after all that requires it. It returns when that is
// under way.
func (c *Client) Stop(ctx context.Context, name string) error {
	return c.short(ctx, Request{Call: CallStop, Service: name}, nil)
}

// Restart ends a service and starts it again. It returns when that is under
// way.
func (c *Client) Restart(ctx context.Context, name string) error {
	return c.short(ctx, Request{Call: CallRestart, Service: name}, nil)
}

// StartWait is Start that returns when the service is ready. An error with
// code Failed says why it will not be.
func (c *Client) StartWait(ctx context.Context, name string) error {
	return c.call(ctx, Request{Call: CallStart, Service: name, Wait: true}, nil)
}

// StopWait is Stop that returns when nothing of the service runs any more.
func (c *Client) StopWait(ctx context.Context, name string) error {
	return c.call(ctx, Request{Call: CallStop, Service: name, Wait: true}, nil)
}

// RestartWait is Restart that returns when the service is ready again.
func (c *Client) RestartWait(ctx context.Context, name string) error {
	return c.call(ctx, Request{Call: CallRestart, Service: name, Wait: true}, nil)
}

// PowerOff ends all services and switches the machine off. A second request,
// for this or Reboot, does not wait for services any longer.
func (c *Client) PowerOff(ctx context.Context) error {
	return c.short(ctx, Request{Call: CallPowerOff}, nil)
}

// Reboot ends all services and restarts the machine.
func (c *Client) Reboot(ctx context.Context) error {
	return c.short(ctx, Request{Call: CallReboot}, nil)
}

// LogOptions say what to read of a log.
type LogOptions struct {
	Lines    int       // the newest ones only; 0: all
	Since    time.Time // only lines from then on; zero: all
	Follow   bool      // go on until the context ends, which is then no error
	Previous bool      // of the last boot before this one that has any
	Times    bool      // begin each line with when PID 1 read it
}

// Logs writes a service's log. Remarks by PID 1, such as on lines that were
// lost, are in brackets. The text is as the service printed it: for a terminal,
// out must take care of control characters.
func (c *Client) Logs(ctx context.Context, name string, o LogOptions, out io.Writer) error {
	w := lineWriter{times: o.Times}
	return c.Lines(ctx, name, o, func(lines []Line) error {
		_, err := out.Write(w.render(lines))
		return err
	})
}

// Lines hands the lines of a service's log on as they come.
func (c *Client) Lines(ctx context.Context, name string, o LogOptions, f func([]Line) error) error {
	r := Request{Call: CallLogs, Service: name, Lines: o.Lines, Follow: o.Follow, Previous: o.Previous}
	if !o.Since.IsZero() {
		r.SinceMs = o.Since.UnixMilli()
	}
	err := c.call(ctx, r, func(a Answer) error { return f(a.Lines) })
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	return err
}

// lineWriter joins the pieces of long lines.
type lineWriter struct {
	times  bool
	inside bool // a line that is not complete
}

func (w *lineWriter) render(lines []Line) (out []byte) {
	for _, l := range lines {
		if w.times && !w.inside {
			out = time.UnixMilli(l.AtMs).UTC().AppendFormat(out, "2006-01-02T15:04:05.000Z ")
		}
		w.inside = l.Kind == LinePiece
		switch l.Kind {
		case LineMark:
			out = append(append(append(out, '['), l.Text...), "]\n"...)
		case LinePiece:
			out = append(out, l.Text...)
		default:
			out = append(append(out, l.Text...), '\n')
		}
	}
	return out
}

// Events hands each event on, beginning with every service's state, until the
// function or the context ends it.
func (c *Client) Events(ctx context.Context, f func(Event) error) error {
	return c.call(ctx, Request{Call: CallEvents}, func(a Answer) error {
		if a.Event == nil {
			return nil
		}
		return f(*a.Event)
	})
}

func (c *Client) short(ctx context.Context, r Request, each func(Answer) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return c.call(ctx, r, each)
}

// call sends a request and hands on what is answered. An error tells the call;
// each's is returned as it is.
func (c *Client) call(ctx context.Context, r Request, each func(Answer) error) error {
	if err := errors.Join(ctx.Err(), c.closed.Err()); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	conn, err := dial(ctx, c.path)
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	var once sync.Once
	hangUp := func() { once.Do(func() { conn.Close() }) }
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	defer context.AfterFunc(c.closed, hangUp)()
	if err := converse(conn, r, each); err != nil {
		if gone := errors.Join(ctx.Err(), c.closed.Err()); gone != nil && errors.Is(err, os.ErrClosed) {
			err = fmt.Errorf("%s: %w", r, gone)
		}
		return err
	}
	return nil
}

// dialLimit is how long a client waits while others are being accepted.
const dialLimit = 5 * time.Second

func dial(ctx context.Context, path string) (*seqpacket.Conn, error) {
	limit := dialLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	conn, err := seqpacket.Dial(path, limit)
	if errors.Is(err, os.ErrPermission) {
		return nil, &Error{Refused, fmt.Sprintf("%v: only user 0 and members of group %d may", err, GroupReader)}
	}
	return conn, err
}

func converse(conn *seqpacket.Conn, r Request, each func(Answer) error) error {
	r.Version = Version
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	// One that was refused at once can't send any more, and has an answer.
	if err := conn.Send(b, RequestLimit); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%s: %w", r, err)
	}
	buf := make([]byte, MaxAnswer)
	for {
		n, err := receive(conn, buf)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		a, err := DecodeAnswer(buf[:n])
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", r, err)
		case a.Error != nil:
			return fmt.Errorf("%s: %w", r, a.Error)
		case a.End:
			return nil
		case each == nil:
		default:
			if err := each(a); err != nil {
				return err
			}
		}
	}
}

// receive takes the next answer. That PID 1 closed a connection with a request
// unread is told once before the answers that are still there.
func receive(conn *seqpacket.Conn, buf []byte) (int, error) {
	n, err := conn.Receive(buf, 0)
	if errors.Is(err, syscall.ECONNRESET) {
		n, err = conn.Receive(buf, 0)
	}
	if errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("PID 1 hung up: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}

func (r Request) String() string {
	if r.Service == "" {
		return string(r.Call)
	}
	return string(r.Call) + " " + r.Service
}
