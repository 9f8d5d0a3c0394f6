package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"
)

// qmp is a client of the QEMU machine protocol: one command at a time, events
// to a function.
type qmp struct {
	w       io.Writer
	turn    sync.Mutex // held while a command is under way
	replies chan reply
	ended   chan struct{}
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

func newQMP(w io.Writer) *qmp {
	return &qmp{w: w, replies: make(chan reply, 1), ended: make(chan struct{})}
}

// read handles what QEMU sends until the channel ends.
func (q *qmp) read(r io.Reader, event func(name string, data json.RawMessage)) {
	defer close(q.ended)
	dec := json.NewDecoder(r)
	for {
		var m reply
		if err := dec.Decode(&m); err != nil {
			return
		}
		switch {
		case m.Event != "":
			event(m.Event, m.Data)
		case m.Return != nil || m.Error != nil:
			select {
			case q.replies <- m:
			default: // nobody waits for it any more
			}
		}
	}
}

// qmpTimeout bounds one command; QEMU answers within milliseconds.
const qmpTimeout = 30 * time.Second

// do sends a command and returns its answer.
func (q *qmp) do(ctx context.Context, cmd string, args any) (json.RawMessage, error) {
	q.turn.Lock()
	defer q.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	select { // an answer that came after its command's deadline
	case <-q.replies:
	default:
	}
	msg := map[string]any{"execute": cmd}
	if args != nil {
		msg["arguments"] = args
	}
	err := json.NewEncoder(q.w).Encode(msg)
	if errors.Is(err, syscall.EPIPE) {
		err = ErrEnded
	}
	if err != nil {
		return nil, fmt.Errorf("send qmp %s: %w", cmd, err)
	}
	select {
	case m := <-q.replies:
		if m.Error != nil {
			return nil, fmt.Errorf("qmp %s: %s", cmd, m.Error.Desc)
		}
		return m.Return, nil
	case <-q.ended:
		return nil, fmt.Errorf("qmp %s: %w", cmd, ErrEnded)
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", cmd, ctx.Err())
	}
}
