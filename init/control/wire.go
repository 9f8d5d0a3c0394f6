package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast/init/status"
)

// Socket is where PID 1 listens.
const Socket = "/run/holdfast/control.sock"

// GroupReader is the gid of the group whose members are readers, named
// GroupReaderName on the node.
const (
	GroupReader     = 900
	GroupReaderName = "holdfast-reader"
)

// GroupOperator is the gid of the group whose members are operators, named
// GroupOperatorName on the node. They must be in GroupReader as well, whose the
// socket is.
const (
	GroupOperator     = 901
	GroupOperatorName = "holdfast-operator"
)

// UserAPI is the uid and gid of the daemon that passes on what operators ask
// from afar, named UserAPIName on the node. It is in both groups.
const (
	UserAPI     = 902
	UserAPIName = "holdfast-apid"
)

// Version is the protocol's.
const Version = 1

// Limits of the protocol.
const (
	MaxRequest   = 4 << 10  // bytes
	MaxAnswer    = 64 << 10 // bytes
	RequestLimit = 2 * time.Second
	AnswerLimit  = 5 * time.Second
)

// Call is what a client asks for.
type Call string

const (
	CallHello    Call = "hello"
	CallList     Call = "list"
	CallStatus   Call = "status"
	CallLogs     Call = "logs"
	CallEvents   Call = "events"
	CallStart    Call = "start"
	CallStop     Call = "stop"
	CallRestart  Call = "restart"
	CallPowerOff Call = "power-off"
	CallReboot   Call = "reboot"
)

// Calls lists them all.
var Calls = [...]Call{CallHello, CallList, CallStatus, CallLogs, CallEvents, CallStart, CallStop, CallRestart, CallPowerOff, CallReboot}

// Role is what a caller may do.
type Role string

const (
	Nobody   Role = ""
	Reader   Role = "reader"
	Operator Role = "operator" // everything
)

// May tells whether a caller of role r may do what needs role needed.
func (r Role) May(needed Role) bool {
	return r == Operator || r == Reader && needed == Reader
}

// Request is a client's one message.
type Request struct {
	Version  int    `json:"version"`
	Call     Call   `json:"call"`
	Service  string `json:"service,omitempty"`
	Wait     bool   `json:"wait,omitempty"`
	Lines    int    `json:"lines,omitempty"`
	SinceMs  int64  `json:"sinceMs,omitempty"`
	Follow   bool   `json:"follow,omitempty"`
	Previous bool   `json:"previous,omitempty"`
}

// Answer is one of PID 1's messages.
type Answer struct {
	End     bool     `json:"end,omitempty"`
	Error   *Error   `json:"error,omitempty"`
	Hello   *Hello   `json:"hello,omitempty"`
	Service *Service `json:"service,omitempty"`
	Lines   []Line   `json:"lines,omitempty"`
	Event   *Event   `json:"event,omitempty"`
}

// Hello tells a caller who it is to PID 1.
type Hello struct {
	Version int  `json:"version"`
	Role    Role `json:"role"`
}

// Service is a service's state, and what its cgroup uses at this moment.
type Service struct {
	status.Service
	MemoryBytes     int64 `json:"memoryBytes,omitempty"`
	MemoryPeakBytes int64 `json:"memoryPeakBytes,omitempty"` // since its cgroup was made
	CPUUsec         int64 `json:"cpuUsec,omitempty"`         // of all its processes, since then
}

// LineKind tells a line's meaning.
type LineKind string

const (
	LineWhole   LineKind = ""        // what the service printed
	LinePiece   LineKind = "piece"   // the beginning of a long line; the next one goes on
	LineMark    LineKind = "mark"    // a remark by PID 1: what was lost
	LineForeign LineKind = "foreign" // found in a damaged file; it has no time
)

// Line is a line of a log. Its text is the service's: it may hold anything,
// but a newline.
type Line struct {
	AtMs int64    `json:"atMs,omitempty"` // UNIX time
	Kind LineKind `json:"kind,omitempty"`
	Text []byte   `json:"text"`
}

// EventKind tells an event's meaning.
type EventKind string

const (
	EventNow   EventKind = "now"   // a service's state when the subscription began
	EventState EventKind = "state" // a service came to a state
	EventFault EventKind = "fault" // something wrong that the node survived; Text says what
	EventLost  EventKind = "lost"  // Lost events are missing here: the subscriber lagged
)

// Event is something that happened.
type Event struct {
	AtMs    int64     `json:"atMs"`
	Kind    EventKind `json:"kind"`
	Service string    `json:"service,omitempty"` // or another source of a fault
	State   string    `json:"state,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Text    string    `json:"text,omitempty"`
	Lost    int       `json:"lost,omitempty"`
}

// Code is the class of an error.
type Code string

const (
	Refused    Code = "refused"
	Forbidden  Code = "forbidden"
	Busy       Code = "busy"
	BadRequest Code = "bad-request"
	BadVersion Code = "version"
	Unknown    Code = "unknown"
	GoingDown  Code = "going-down"
	Failed     Code = "failed"
	Slow       Code = "slow"
	Closing    Code = "closing"
	Internal   Code = "internal"
)

// Error is PID 1's answer to a call that failed.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// CodeOf is the code of PID 1's answer in err; empty: it is no such answer.
func CodeOf(err error) Code {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// DecodeRequest reads a request strictly. What it returns is an *Error.
func DecodeRequest(b []byte) (Request, error) {
	var r Request
	if len(b) > MaxRequest {
		return Request{}, &Error{BadRequest, fmt.Sprintf("request is %d bytes, at most %d are read", len(b), MaxRequest)}
	}
	var head struct{ Version int }
	if err := json.Unmarshal(b, &head); err != nil {
		return Request{}, &Error{BadRequest, "read request: " + err.Error()}
	}
	if head.Version != Version {
		return Request{}, &Error{BadVersion, fmt.Sprintf("request has version %d, want %d", head.Version, Version)}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, &Error{BadRequest, "read request: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, &Error{BadRequest, "read request: data after the end"}
	}
	if r.Lines < 0 {
		return Request{}, &Error{BadRequest, fmt.Sprintf("lines is %d, want 0 or more", r.Lines)}
	}
	return r, nil
}

// DecodeAnswer reads an answer; fields of a later version are passed over.
func DecodeAnswer(b []byte) (Answer, error) {
	var a Answer
	if len(b) > MaxAnswer {
		return Answer{}, fmt.Errorf("answer is %d bytes, at most %d are read", len(b), MaxAnswer)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	if a.Error != nil && !a.End {
		return Answer{}, errors.New("read answer: an error that is not the end")
	}
	return a, nil
}
