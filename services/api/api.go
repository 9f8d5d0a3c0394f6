// Package api is a node's API on the wire: every call, what it takes and answers, and who may make it.
//
// A node serves HTTP/2 with JSON on TCP port 50000, over TLS 1.3 with client
// certificates (package pki). Calls is the table of all calls; the handlers,
// the client and the OpenAPI document (openapi.json) follow it, and tests
// hold them together.
//
// A stream is NDJSON: one JSON object per line, each with the field of the
// call's type, until one with "end": true, or "error" where it ended before
// its time. A stream without such a last line was cut off.
//
// Times are RFC 3339, but for those with Ms in their name: milliseconds since
// the node's kernel started.
//
// # Decisions
//
// Types of init/status and init/control are used as they are: what PID 1 says
// reaches the operator in its own words.
//
// A node answers a wrong request as it is read; nothing is half done. Whoever
// repeats a call that ended without an answer gets the same result: starting
// what runs, or stopping what does not, is no error.
package api

import (
	"net/http"
	"time"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/services/pki"
)

// Port is where nodes serve their API.
const Port = 50000

// MediaTypes of answers and requests.
const (
	JSON   = "application/json"
	NDJSON = "application/x-ndjson"
	YAML   = "application/yaml"
)

// Call is one call. Its name is the handlers' and the OpenAPI operation's.
type Call struct {
	Name    string
	Method  string
	Path    string // as http.ServeMux has it
	Role    pki.Role
	Summary string
	Query   []Parameter
	Takes   string // the request's media type, if it has a body
	Answer  any    // the zero value of what is answered; a stream's items
	Stream  bool
	Long    bool // may take as long as a service needs
	Planned bool // the node says so with code not-implemented
}

// Parameter is one in the query of a call.
type Parameter struct {
	Name    string
	Example any // tells the type: bool, int or time.Time
	Meaning string
}

var (
	wait = []Parameter{{"wait", true, "answer when the service is ready or has stopped, instead of when that is under way"}}
	logs = []Parameter{
		{"lines", 100, "the newest lines only; 0: all"},
		{"since", time.Time{}, "only lines from then on"},
		{"follow", true, "go on until the client ends the call"},
		{"previous", true, "of the last boot before this one that has any"},
	}
)

// Names of calls.
const (
	GetVersion     = "version"
	GetStatus      = "status"
	GetPosture     = "posture"
	GetBoot        = "boot"
	ListServices   = "services"
	GetService     = "service"
	StartService   = "service-start"
	StopService    = "service-stop"
	RestartService = "service-restart"
	ReadLogs       = "logs"
	WatchEvents    = "events"
	Reboot         = "reboot"
	PowerOff       = "poweroff"
	GetConfig      = "config"
	ValidateConfig = "config-validate"
	ApplyConfig    = "config-apply"
)

// Calls are all calls.
func Calls() []Call {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	return []Call{
		{Name: GetVersion, Method: get, Path: "/v1/version", Role: pki.Reader, Answer: Version{}, Summary: "Which release runs, and who the caller is to the node."},
		{Name: GetStatus, Method: get, Path: "/v1/status", Role: pki.Reader, Answer: Status{}, Summary: "The whole node on one screen."},
		{Name: GetPosture, Method: get, Path: "/v1/posture", Role: pki.Reader, Answer: status.Posture{}, Summary: "What the node claims about its own integrity, read back at boot."},
		{Name: GetBoot, Method: get, Path: "/v1/boot", Role: pki.Reader, Answer: Boot{}, Summary: "When each step of the boot ended, and what it took."},
		{Name: ListServices, Method: get, Path: "/v1/services", Role: pki.Reader, Answer: Services{}, Summary: "Every service, in dependency order."},
		{Name: GetService, Method: get, Path: "/v1/services/{name}", Role: pki.Reader, Answer: control.Service{}, Summary: "One service."},
		{Name: StartService, Method: post, Path: "/v1/services/{name}/start", Role: pki.Operator, Query: wait, Answer: control.Service{}, Long: true, Summary: "Start a service, and all that it requires."},
		{Name: StopService, Method: post, Path: "/v1/services/{name}/stop", Role: pki.Operator, Query: wait, Answer: control.Service{}, Long: true, Summary: "Stop a service, after all that requires it."},
		{Name: RestartService, Method: post, Path: "/v1/services/{name}/restart", Role: pki.Operator, Query: wait, Answer: control.Service{}, Long: true, Summary: "Stop a service and start it again."},
		{Name: ReadLogs, Method: get, Path: "/v1/services/{name}/logs", Role: pki.Reader, Query: logs, Answer: Line{}, Stream: true, Summary: "What a service printed."},
		{Name: WatchEvents, Method: get, Path: "/v1/events", Role: pki.Reader, Answer: control.Event{}, Stream: true, Summary: "Each service's state now, and what happens from then on."},
		{Name: Reboot, Method: post, Path: "/v1/reboot", Role: pki.Operator, Answer: Accepted{}, Summary: "End all services and restart the machine. A second request does not wait for services any longer."},
		{Name: PowerOff, Method: post, Path: "/v1/poweroff", Role: pki.Operator, Answer: Accepted{}, Summary: "End all services and switch the machine off. A second request does not wait for services any longer."},
		{Name: GetConfig, Method: get, Path: "/v1/config", Role: pki.Admin, Answer: Document{}, Planned: true, Summary: "The configuration document that applies; it may hold secrets."},
		{Name: ValidateConfig, Method: post, Path: "/v1/config/validate", Role: pki.Reader, Takes: YAML, Answer: Verdict{}, Summary: "What the node would say of a configuration document."},
		{Name: ApplyConfig, Method: put, Path: "/v1/config", Role: pki.Admin, Takes: YAML, Answer: Verdict{}, Planned: true, Summary: "Apply a configuration document."},
	}
}

// Version is what runs.
type Version struct {
	Version string `json:"version"`
	Node    string `json:"node"`
	BootID  string `json:"bootID"`
	User    string `json:"user"`
	Role    string `json:"role"`
}

// Status is the whole node.
type Status struct {
	Node     string            `json:"node"`
	Version  string            `json:"version"`
	BootID   string            `json:"bootID"`
	Phase    status.Phase      `json:"phase"`
	UptimeMs int64             `json:"uptimeMs"`
	Time     time.Time         `json:"time"`
	Services []control.Service `json:"services"`
	Posture  status.Posture    `json:"posture"`
	Faults   []status.Fault    `json:"faults"`
	Memory   status.Memory     `json:"memory"`
}

// Boot is the boot's time line.
type Boot struct {
	BootID   string          `json:"bootID"`
	Firmware status.Firmware `json:"firmware"`
	Steps    []status.Step   `json:"steps"`
}

// Services are all services.
type Services struct {
	Services []control.Service `json:"services"`
}

// Line is a line of a log. Text that is no UTF-8 stands in Bytes instead.
type Line struct {
	Time  *time.Time       `json:"time,omitempty"`
	Kind  control.LineKind `json:"kind,omitempty"`
	Text  string           `json:"text,omitempty"`
	Bytes []byte           `json:"bytes,omitempty"`
}

// Accepted says that a request is under way; the node will soon not answer.
type Accepted struct {
	Accepted bool `json:"accepted"`
}

// Document is a configuration document as it was given.
type Document struct {
	Source   string `json:"source"`
	Document string `json:"document"`
}

// Verdict is what a node says of a document.
type Verdict struct {
	Valid  bool    `json:"valid"`
	Faults []Fault `json:"faults"`
}

// Fault is one thing in a document that does not apply.
type Fault struct {
	Line int    `json:"line,omitempty"` // 0: the document as a whole
	Path string `json:"path,omitempty"`
	Text string `json:"text"`
}

// Code is the class of an error.
type Code string

// Codes beside those of PID 1's (package control), which pass through.
const (
	Unauthorized   Code = "unauthorized"    // the client's certificate is not accepted (any more)
	Forbidden      Code = "forbidden"       // the call needs another role
	NotFound       Code = "not-found"       // there is no such call
	BadRequest     Code = "bad-request"     // a parameter or the body is wrong
	TooLarge       Code = "too-large"       // the body is longer than the node reads
	Busy           Code = "busy"            // too many calls at once; try again
	NotImplemented Code = "not-implemented" // the call has its place, but no content yet
	Unavailable    Code = "unavailable"     // PID 1 does not answer
)

// Error is the answer to a call that failed, and a stream's last line.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Failure is how an Error is sent.
type Failure struct {
	Error *Error `json:"error"`
}

// Statuses are the HTTP statuses of codes; any other code is 500.
var Statuses = map[Code]int{
	Unauthorized: http.StatusUnauthorized, Forbidden: http.StatusForbidden, NotFound: http.StatusNotFound,
	BadRequest: http.StatusBadRequest, TooLarge: http.StatusRequestEntityTooLarge, Busy: http.StatusTooManyRequests,
	NotImplemented: http.StatusNotImplemented, Unavailable: http.StatusServiceUnavailable,

	Code(control.Unknown): http.StatusNotFound, Code(control.GoingDown): http.StatusConflict, Code(control.Failed): http.StatusConflict,
	Code(control.Closing): http.StatusServiceUnavailable, Code(control.Slow): http.StatusGatewayTimeout,
}

// Item is one line of a stream of T.
type Item[T any] struct {
	Item  *T     `json:"item,omitempty"`
	End   bool   `json:"end,omitempty"`
	Error *Error `json:"error,omitempty"`
}
