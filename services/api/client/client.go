// Package client makes the calls of a node's API.
package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/services/api"
	"holdfast/services/pki"
)

// Limits. A call that may last has none but its context.
const (
	dialLimit = 5 * time.Second
	callLimit = 30 * time.Second
	maxAnswer = 16 << 20
	maxLine   = 1 << 20
)

// Client calls one node. Several goroutines may use it.
type Client struct {
	endpoint string
	tls      *tls.Config
	http     *http.Client
}

// New is a client for HOST:PORT. Nothing is sent yet.
func New(endpoint string, conf *tls.Config) *Client {
	return &Client{endpoint, conf, &http.Client{Transport: &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialLimit,
		DialContext: (&net.Dialer{Timeout: dialLimit}).DialContext,
	}}}
}

// Close closes connections that no call uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Args are what a call takes.
type Args struct {
	Name  string // of the service
	Query url.Values
	Body  []byte
}

// Do makes a call that answers once.
func Do[T any](ctx context.Context, c *Client, name string, args Args) (answer T, err error) {
	call, err := find(name)
	if err != nil {
		return answer, err
	}
	if !call.Long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	r, err := c.send(ctx, call, args)
	if err != nil {
		return answer, err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil
}

// Stream makes a call that goes on answering, and hands each item on. That the
// context ends is no error.
func Stream[T any](ctx context.Context, c *Client, name string, args Args, each func(T) error) error {
	call, err := find(name)
	if err != nil {
		return err
	}
	r, err := c.send(ctx, call, args)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var i api.Item[T]
		if err := json.Unmarshal(lines.Bytes(), &i); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		switch {
		case i.Error != nil:
			return i.Error
		case i.End:
			return nil
		case i.Item != nil:
			if err := each(*i.Item); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream was cut off: %w", explain(err))
	}
	return errors.New("the stream was cut off")
}

func find(name string) (api.Call, error) {
	calls := api.Calls()
	i := slices.IndexFunc(calls, func(c api.Call) bool { return c.Name == name })
	if i < 0 {
		return api.Call{}, fmt.Errorf("there is no call %s", name)
	}
	return calls[i], nil
}

// send makes the request; an answer that is an error becomes one.
func (c *Client) send(ctx context.Context, call api.Call, args Args) (*http.Response, error) {
	path := strings.ReplaceAll(call.Path, "{name}", url.PathEscape(args.Name))
	if len(args.Query) > 0 {
		path += "?" + args.Query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, call.Method, "https://"+c.endpoint+path, bytes.NewReader(args.Body))
	if err != nil {
		return nil, err
	}
	if call.Takes != "" {
		r.Header.Set("Content-Type", call.Takes)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, explain(c.reason(ctx, err))
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	var f api.Failure
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxLine)).Decode(&f); err != nil || f.Error == nil {
		return nil, fmt.Errorf("the node answered %s", answer.Status)
	}
	return nil, f.Error
}

// reason finds out why a node ended a connection. It refuses a client's
// certificate by an alert after the handshake, and a client that is writing
// its request just then sees a broken pipe instead: so this one only reads.
func (c *Client) reason(ctx context.Context, err error) error {
	broken := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "conn could not be established")
	if !broken || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conf := c.tls.Clone()
	conf.NextProtos = []string{"h2"}
	conn, derr := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", c.endpoint)
	if derr != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline) // of a connection that is open
	if _, rerr := conn.Read(make([]byte, 1)); rerr != nil && strings.Contains(rerr.Error(), "tls: ") {
		return rerr
	}
	return err
}

// refusals are the alerts with which a node refuses a client's certificate.
var refusals = []string{"tls: bad certificate", "tls: certificate required"}

// explain says what an operator can do about a connection that failed.
func explain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if p, ok := errors.AsType[*pki.PinError](err); ok {
		return fmt.Errorf("%w; if the node was installed anew, compare the fingerprint with its console and add the context again; otherwise somebody is between you and the node", p)
	}
	for _, r := range refusals {
		if strings.Contains(err.Error(), r) {
			return fmt.Errorf("the node does not accept the client certificate: it has expired, is revoked, or is from an authority that the node does not know (%w)", err)
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: no API is served there", err)
	}
	return err
}
