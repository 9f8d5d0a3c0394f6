package apid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/init/control"
	"holdfast/services/api"
	"holdfast/services/nodeconfig"
	"holdfast/services/pki"
)

// maxName is how long a service's name may be.
const maxName = 64

// ask is one call under way.
type ask struct {
	*Server
	ctx     context.Context
	who     pki.Identity
	service string
	query   query
	body    []byte
}

// query are the call's parameters.
type query struct {
	bools map[string]bool
	ints  map[string]int
	times map[string]time.Time
}

// call serves one call: who, may they, what exactly, is there room, do it.
func (s *Server) call(c api.Call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := s.admit(c, w, r)
		if err != nil {
			fail(w, err)
			return
		}
		free, err := s.room(c, a.query)
		if err != nil {
			fail(w, err)
			return
		}
		defer free()
		if c.Stream {
			s.stream(c, a, w)
			return
		}
		// What takes no time is done and answered even when the daemon is asked
		// to end meanwhile: a power-off asks it.
		ctx, limit := context.WithoutCancel(a.ctx), shortLimit
		if c.Long {
			ctx, limit = a.ctx, longLimit
		}
		var cancel context.CancelFunc
		a.ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
		answer, err := answers[c.Name](a)
		if err != nil {
			fail(w, err)
			return
		}
		send(w, http.StatusOK, answer)
	})
}

// admit checks the caller and reads the request.
func (s *Server) admit(c api.Call, w http.ResponseWriter, r *http.Request) (*ask, error) {
	id, err := s.identify(r)
	if err != nil {
		return nil, err
	}
	if !id.Role.Allows(c.Role) {
		return nil, &api.Error{Code: api.Forbidden, Text: fmt.Sprintf("%s is %s here; %s needs the role %s", id.Name, id.Role, c.Name, c.Role)}
	}
	if c.Planned {
		return nil, &api.Error{Code: api.NotImplemented, Text: "this release does not serve " + c.Name + " yet"}
	}
	q, err := parseQuery(c, r.URL.RawQuery)
	if name := r.PathValue("name"); err == nil && len(name) > maxName {
		err = fmt.Errorf("the service's name has %d bytes, expected at most %d", len(name), maxName)
	}
	if err != nil {
		return nil, &api.Error{Code: api.BadRequest, Text: err.Error()}
	}
	a := &ask{Server: s, ctx: r.Context(), who: id, service: r.PathValue("name"), query: q}
	if c.Takes != "" {
		a.body, err = readBody(w, r)
	}
	return a, err
}

func parseQuery(c api.Call, raw string) (query, error) {
	q := query{map[string]bool{}, map[string]int{}, map[string]time.Time{}}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, err
	}
	for name, texts := range values {
		i := slices.IndexFunc(c.Query, func(p api.Parameter) bool { return p.Name == name })
		if i < 0 {
			return q, fmt.Errorf("%s has no parameter %.50q", c.Name, name)
		}
		if len(texts) > 1 {
			return q, fmt.Errorf("parameter %s stands there twice", name)
		}
		if err := q.set(c.Query[i], texts[0]); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q query) set(p api.Parameter, text string) (err error) {
	want := ""
	switch p.Example.(type) {
	case bool:
		want = "true or false"
		q.bools[p.Name], err = strconv.ParseBool(text)
	case int:
		want = "a whole number from 0 to 1000000"
		n, perr := strconv.ParseUint(text, 10, 31)
		if q.ints[p.Name], err = int(n), perr; n > 1e6 {
			err = strconv.ErrRange
		}
	case time.Time:
		want = "a time such as 2026-03-01T12:00:00Z"
		q.times[p.Name], err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return fmt.Errorf("parameter %s is %.50q, expected %s", p.Name, text, want)
	}
	return nil
}

// readBody reads one byte more than a document may have; its parser refuses it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readLimit)) // where it can't be, the connection's limits hold
	const most = nodeconfig.MaxSize + 1
	if r.ContentLength > most {
		return nil, &api.Error{Code: api.TooLarge, Text: fmt.Sprintf("the body has %d bytes, at most %d are read", r.ContentLength, most)}
	}
	data, err := readAll(http.MaxBytesReader(w, r.Body, most), r.ContentLength)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &api.Error{Code: api.TooLarge, Text: fmt.Sprintf("the body has more than %d bytes", most)}
	} else if err != nil {
		return nil, &api.Error{Code: api.BadRequest, Text: "the body did not arrive: " + err.Error()}
	}
	return data, nil
}

// room takes one of the places for calls. Those that may last have their own.
func (s *Server) room(c api.Call, q query) (free func(), err error) {
	places := s.short
	if c.Stream || c.Long && q.bools["wait"] {
		places = s.long
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, &api.Error{Code: api.Busy, Text: "too many calls at once; try again"}
	}
}

// stream sends items until the call, its source or its reader ends.
func (s *Server) stream(c api.Call, a *ask, w http.ResponseWriter) {
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	a.ctx = ctx
	control := http.NewResponseController(w)
	e := json.NewEncoder(w)
	begun := false
	write := func(v any) error {
		begun = true
		w.Header().Set("Content-Type", api.NDJSON)
		_ = control.SetWriteDeadline(time.Now().Add(writeLimit))
		return e.Encode(v)
	}
	emit := func(items ...any) error {
		for _, i := range items {
			if err := write(api.Item[any]{Item: &i}); err != nil {
				return err
			}
		}
		if err := s.still(a); err != nil {
			return err
		}
		return control.Flush()
	}
	err := streams[c.Name](a, emit)
	if err != nil && !begun {
		fail(w, err)
		return
	}
	last := api.Item[any]{End: true}
	if err != nil {
		last = api.Item[any]{Error: asError(err)}
	}
	if write(last) != nil {
		panic(http.ErrAbortHandler) // the reader is gone: end the connection, say nothing
	}
}

// still ends a stream whose reader's certificate has expired.
func (s *Server) still(a *ask) error {
	if s.Now().After(a.who.Expires) {
		return &api.Error{Code: api.Unauthorized, Text: "the client certificate has expired meanwhile"}
	}
	return nil
}

func fail(w http.ResponseWriter, err error) {
	e := asError(err)
	status, ok := api.Statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	send(w, status, api.Failure{Error: e})
}

func send(w http.ResponseWriter, status int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
	w.Header().Set("Content-Type", api.JSON)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// asError gives an error its code. What PID 1 says of the caller is about this
// daemon, not about the operator.
func asError(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	switch code := control.CodeOf(err); code {
	case "":
		if errors.Is(err, context.DeadlineExceeded) {
			return &api.Error{Code: api.Code(control.Slow), Text: text}
		}
		return &api.Error{Code: api.Unavailable, Text: text}
	case control.Busy:
		return &api.Error{Code: api.Busy, Text: text}
	case control.Refused, control.Forbidden:
		return &api.Error{Code: api.Unavailable, Text: "the API's daemon may not ask PID 1: " + text}
	default:
		return &api.Error{Code: api.Code(code), Text: text}
	}
}
