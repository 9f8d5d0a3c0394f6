package apid_test

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
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/init/control"
	"holdfast/services/api"
	"holdfast/services/api/client"
	"holdfast/services/apid/trial"
	"holdfast/services/pki"
)

var services = map[string]trial.Service{
	"quiet":  {Script: "exec sleep 600"},
	"talker": {Script: "echo one; printf '\\377\\n'; echo three; exec sleep 600"},
	"broken": {Script: "exit 3", Type: "oneshot"},
	"slow":   {Script: "exec sleep 600", Type: "oneshot"},
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, n *trial.Node, c pki.Client) *client.Client {
	cl := client.New(n.Endpoint, n.TLS(t, c))
	t.Cleanup(cl.Close)
	return cl
}

// raw makes a call without the typed client.
func raw(t *testing.T, n *trial.Node, conf *tls.Config, method, path string, body io.Reader) (int, api.Code, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t), method, "https://"+n.Endpoint+path, body)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}}
	defer h.CloseIdleConnections()
	a, err := h.Do(r)
	if err != nil {
		return 0, "", err.Error()
	}
	defer a.Body.Close()
	var f api.Failure
	text, err := bufio.NewReader(a.Body).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return a.StatusCode, "", err.Error()
	}
	if json.Unmarshal(text, &f) == nil && f.Error != nil {
		return a.StatusCode, f.Error.Code, f.Error.Text
	}
	if a.ProtoMajor != 2 {
		t.Errorf("%s %s came over %s", method, path, a.Proto)
	}
	return a.StatusCode, "", string(text)
}

// Every call by every role. What is allowed reaches its own answer or error.
func TestEveryCallByEveryRole(t *testing.T) {
	n := trial.Start(t, services)
	for _, role := range pki.Roles() {
		conf := n.TLS(t, n.Issue(t, "user-"+string(role), role))
		for _, c := range api.Calls() {
			status, code, text := raw(t, n, conf, c.Method, strings.ReplaceAll(c.Path, "{name}", "absent"), nil)
			want, wantStatus := api.Code(""), http.StatusOK
			switch {
			case !role.Allows(c.Role):
				want, wantStatus = api.Forbidden, http.StatusForbidden
			case c.Planned:
				want, wantStatus = api.NotImplemented, http.StatusNotImplemented
			case strings.Contains(c.Path, "{name}"):
				want, wantStatus = api.Code(control.Unknown), http.StatusNotFound
			}
			if status != wantStatus || code != want {
				t.Errorf("%s by %s: %d %s %s, want %d %s", c.Name, role, status, code, text, wantStatus, want)
			}
		}
	}
	for range 4 { // reboot and power off, by operator and admin
		<-n.Asked
	}
	if len(n.Asked) > 0 {
		t.Error("a reader had the machine go down")
	}
}

// Who has no good certificate does not get through the handshake.
func TestStrangers(t *testing.T) {
	n := trial.Start(t, nil)
	other := trial.Start(t, nil)
	good := n.TLS(t, n.Issue(t, "alice", pki.Admin))
	bob := n.Issue(t, "bob", pki.Admin)
	serials, err := n.Authority.Revocable("bob", time.Now())
	if err == nil {
		err = n.Authority.Revoke(serials, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	n.Reload(t)
	foreign := other.TLS(t, other.Issue(t, "alice", pki.Admin))
	with := func(change func(*tls.Config)) *tls.Config {
		c := good.Clone()
		change(c)
		return c
	}
	for name, test := range map[string]struct {
		conf *tls.Config
		want string
	}{
		"good":         {good, ""},
		"none":         {with(func(c *tls.Config) { c.Certificates = nil }), "certificate required"},
		"foreign":      {with(func(c *tls.Config) { c.Certificates = foreign.Certificates }), "bad certificate"},
		"revoked":      {n.TLS(t, bob), "bad certificate"},
		"another node": {foreign, "expected the pinned"},
		"TLS 1.2":      {with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			status, code, text := raw(t, n, test.conf.Clone(), "GET", "/v1/version", nil)
			told := status != 0 || test.want != "" // net/http may see nothing but a broken pipe
			if strings.Contains(text, "tls: ") {
				told = strings.Contains(text, test.want)
			}
			if (test.want == "") != (status == http.StatusOK) || !told {
				t.Errorf("%d %s %s, want %q", status, code, text, test.want)
			}
		})
	}
}

// The client finds the reason, however the connection ended.
func TestRefusalIsExplained(t *testing.T) {
	n := trial.Start(t, nil)
	bob := n.Issue(t, "bob", pki.Admin)
	serials, err := n.Authority.Revocable("bob", time.Now())
	if err == nil {
		err = n.Authority.Revoke(serials, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	n.Reload(t)
	for range 30 {
		c := client.New(n.Endpoint, n.TLS(t, bob))
		_, err := client.Do[api.Version](within(t), c, api.GetVersion, client.Args{})
		c.Close()
		if err == nil || !strings.Contains(err.Error(), "the node does not accept the client certificate") {
			t.Fatal(err)
		}
	}
}

// A connection does not outlive what let it in.
func TestCertificateEndsDuringAConnection(t *testing.T) {
	n := trial.Start(t, nil)
	alice, bob := connect(t, n, n.Issue(t, "alice", pki.Reader)), connect(t, n, n.Issue(t, "bob", pki.Reader))
	version := func(c *client.Client) error {
		_, err := client.Do[api.Version](within(t), c, api.GetVersion, client.Args{})
		return err
	}
	if err := errors.Join(version(alice), version(bob)); err != nil {
		t.Fatal(err)
	}
	serials, err := n.Authority.Revocable("alice", time.Now())
	if err == nil {
		err = n.Authority.Revoke(serials, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	n.Reload(t)
	if err := version(alice); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("revoked: %v", err)
	}
	if err := version(bob); err != nil {
		t.Errorf("the other: %v", err)
	}
	n.SetClock(func() time.Time { return time.Now().Add(25 * time.Hour) })
	if err := version(bob); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("expired: %v", err)
	}
}

func TestServices(t *testing.T) {
	n := trial.Start(t, services)
	c := connect(t, n, n.Issue(t, "olga", pki.Operator))
	wait := client.Args{Name: "quiet", Query: url.Values{"wait": {"true"}}}
	before, err := client.Do[control.Service](within(t), c, api.StartService, wait)
	if err != nil || before.State != "ready" {
		t.Fatalf("%+v, %v", before, err)
	}
	after, err := client.Do[control.Service](within(t), c, api.RestartService, wait)
	if err != nil || after.State != "ready" || after.PID == before.PID {
		t.Errorf("%+v, %v", after, err)
	}
	stopped, err := client.Do[control.Service](within(t), c, api.StopService, wait)
	if err != nil || stopped.State != "stopped" {
		t.Errorf("%+v, %v", stopped, err)
	}
	// A call without wait, after one with: they are not mixed up.
	if s, err := client.Do[control.Service](within(t), c, api.RestartService, client.Args{Name: "slow"}); err != nil || s.State == "done" {
		t.Errorf("%+v, %v", s, err)
	}
	list, err := client.Do[api.Services](within(t), c, api.ListServices, client.Args{})
	if err != nil || len(list.Services) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
	s, err := client.Do[api.Status](within(t), c, api.GetStatus, client.Args{})
	if err != nil || s.Node != "trial" || s.Version != "1.2.3" || len(s.Services) != 4 || len(s.Faults) != 1 || s.UptimeMs == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	v, err := client.Do[api.Version](within(t), c, api.GetVersion, client.Args{})
	if err != nil || v.User != "olga" || v.Role != "operator" {
		t.Errorf("%+v, %v", v, err)
	}
	if e, ok := errors.AsType[*api.Error](restart(t, c, "ghost")); !ok || e.Code != api.Code(control.Unknown) {
		t.Errorf("a service that is not there: %v", e)
	}
}

func restart(t *testing.T, c *client.Client, name string) error {
	_, err := client.Do[control.Service](within(t), c, api.RestartService, client.Args{Name: name})
	return err
}

func TestLogs(t *testing.T) {
	n := trial.Start(t, services)
	c := connect(t, n, n.Issue(t, "rita", pki.Reader))
	read := func(ctx context.Context, q url.Values) (text string) {
		err := client.Stream(ctx, c, api.ReadLogs, client.Args{Name: "talker", Query: q}, func(l api.Line) error {
			text += l.Text + string(l.Bytes) + "\n"
			if strings.Contains(text, "three") && q.Get("follow") != "" {
				return io.EOF
			}
			return nil
		})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		return text
	}
	if got := read(within(t), url.Values{"follow": {"true"}}); got != "one\n\xff\nthree\n" {
		t.Errorf("followed %q", got)
	}
	if got := read(within(t), url.Values{"lines": {"1"}}); got != "three\n" {
		t.Errorf("the last line is %q", got)
	}
	if got := read(within(t), url.Values{"since": {time.Now().Add(time.Hour).Format(time.RFC3339)}}); got != "" {
		t.Errorf("since later: %q", got)
	}
}

func TestEvents(t *testing.T) {
	n := trial.Start(t, services)
	rita, olga := connect(t, n, n.Issue(t, "rita", pki.Reader)), connect(t, n, n.Issue(t, "olga", pki.Operator))
	seen := map[control.EventKind]int{}
	err := client.Stream(within(t), rita, api.WatchEvents, client.Args{}, func(e control.Event) error {
		seen[e.Kind]++
		if seen[control.EventNow] == 4 && seen[control.EventState] == 0 {
			if err := restart(t, olga, "quiet"); err != nil {
				return err
			}
		}
		if e.Kind == control.EventState && e.Service == "quiet" && e.State == "ready" && seen[control.EventNow] == 4 {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		t.Errorf("%v after %v", err, seen)
	}
}

func TestWrongRequests(t *testing.T) {
	n := trial.Start(t, services)
	conf := n.TLS(t, n.Issue(t, "olga", pki.Admin))
	for _, test := range []struct {
		method, path string
		body         io.Reader
		status       int
		text         string
	}{
		{"GET", "/", nil, 404, `there is no call GET "/"`},
		{"GET", "/v1/nonsense", nil, 404, "there is no call"},
		{"DELETE", "/v1/status", nil, 404, "there is no call DELETE"},
		{"POST", "/v1/reboot?now=1", nil, 400, `reboot has no parameter "now"`},
		{"GET", "/v1/services/quiet/logs?lines=-1", nil, 400, "expected a whole number from 0 to 1000000"},
		{"GET", "/v1/services/quiet/logs?lines=1000001", nil, 400, "expected a whole number"},
		{"GET", "/v1/services/quiet/logs?lines=1&lines=2", nil, 400, "stands there twice"},
		{"GET", "/v1/services/quiet/logs?since=yesterday", nil, 400, "expected a time such as"},
		{"GET", "/v1/services/quiet/logs?follow=maybe", nil, 400, "expected true or false"},
		{"GET", "/v1/services/quiet/logs?%zz", nil, 400, "invalid URL escape"},
		{"POST", "/v1/services/ghost/start", nil, 404, `"ghost"`},
		{"POST", "/v1/services/broken/start?wait=true", nil, 409, "exited with status 3"},
		{"POST", "/v1/services/" + strings.Repeat("x", 5000) + "/start", nil, 400, "expected at most 64"},
		{"POST", "/v1/config/validate", strings.NewReader("hostname: a"), 200, "apiVersion"},
		{"POST", "/v1/config/validate", bytes.NewReader(make([]byte, 2<<20)), 413, "at most"},
		{"POST", "/v1/config/validate", io.LimitReader(zeros{}, 100<<20), 413, "more than"},
		{"GET", "/v1/version", nil, 200, "1.2.3"},
	} {
		status, code, text := raw(t, n, conf, test.method, test.path, test.body)
		if status != test.status || !strings.Contains(text, test.text) {
			t.Errorf("%s %.80s: %d %s %.200s, want %d %q", test.method, test.path, status, code, text, test.status, test.text)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The daemon stays what it is under 200 clients, with others that follow and
// don't read, hold half-open connections or send garbage.
func TestManyClients(t *testing.T) {
	n := trial.Start(t, map[string]trial.Service{"flood": {Script: "while :; do echo 0123456789012345678901234567890123456789; done"}})
	conf := n.TLS(t, n.Issue(t, "olga", pki.Operator))
	from := func(i int) *net.Dialer {
		return &net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i))}}
	}
	for i := range 40 { // half-open, and garbage
		conn, err := from(i%4).Dial("tcp", n.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		}
	}
	for i := range 6 { // followers that don't read
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true, DialContext: from(10 + i).DialContext}}
		r, err := h.Get("https://" + n.Endpoint + "/v1/services/flood/logs?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
	}
	var tasks sync.WaitGroup
	failures := make(chan error, 200)
	for i := range 200 {
		tasks.Go(func() {
			h := &http.Client{Transport: &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true, DialContext: from(20 + i%8).DialContext}}
			defer h.CloseIdleConnections()
			failures <- patient(within(t), h, "https://"+n.Endpoint+"/v1/services")
		})
	}
	tasks.Wait()
	for range 200 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

// patient repeats a call that is told to try again.
func patient(ctx context.Context, h *http.Client, url string) error {
	for tries := range 200 {
		r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		a, err := h.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, a.Body)
		a.Body.Close()
		if a.StatusCode == http.StatusOK || err != nil {
			return err
		}
		if a.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("try %d: %s", tries, a.Status)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("busy all the time")
}

// Somebody else's client gets along, too.
func TestCurl(t *testing.T) {
	n := trial.Start(t, services)
	c := n.Issue(t, "olga", pki.Operator)
	curl := func(args ...string) string {
		t.Helper()
		args = append([]string{"-sS", "--max-time", "20", "--insecure", "--cert", c.CertificateFile, "--key", c.KeyFile}, args...)
		out, err := exec.CommandContext(within(t), "curl", args...).CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		return string(out)
	}
	base := "https://" + n.Endpoint
	if got := curl(base + "/v1/version"); !strings.Contains(got, `"user":"olga"`) {
		t.Error(got)
	}
	if got := curl("-X", "POST", base+"/v1/services/quiet/restart?wait=true"); !strings.Contains(got, `"state":"ready"`) {
		t.Error(got)
	}
	if got := curl(base + "/v1/services/talker/logs"); !strings.Contains(got, `"text":"one"`) || !strings.HasSuffix(got, "{\"end\":true}\n") {
		t.Error(got)
	}
}
