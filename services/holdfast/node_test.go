package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/services/apid/trial"
	"holdfast/services/pki"
)

// operatorOf is a command line with a context for nodes under trial.
type operatorOf struct {
	t   *testing.T
	env map[string]string
}

func (o *operatorOf) run(args ...string) (code int, out, errs string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), 60*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	p := program{in: strings.NewReader(""), out: &stdout, err: &stderr, env: func(s string) string { return o.env[s] }, now: time.Now}
	code = p.run(ctx, args)
	return code, stdout.String(), stderr.String()
}

// want runs a command and checks its code and what it prints, where * stands
// for anything, runs of spaces count as one and case does not count.
func (o *operatorOf) want(code int, out, errs string, args ...string) {
	o.t.Helper()
	gotCode, gotOut, gotErrs := o.run(args...)
	if gotCode != code || !alike(out, gotOut) || !alike(errs, gotErrs) {
		o.t.Errorf("holdfast %q: code %d\n%s%s", args, gotCode, gotOut, gotErrs)
	}
}

// wantSoon repeats a command until it prints something.
func (o *operatorOf) wantSoon(out string, args ...string) {
	o.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		code, got, errs := o.run(args...)
		if code == done && alike(out, got) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			o.t.Fatalf("holdfast %q: code %d\n%s%s", args, code, got, errs)
		}
	}
}

func alike(pattern, text string) bool {
	squeeze := func(s string) string {
		return regexp.MustCompile(`[ \t]*\n[ \t]*`).ReplaceAllString(regexp.MustCompile(`[ \t]+`).ReplaceAllString(strings.TrimSpace(s), " "), "\n")
	}
	pattern = strings.ReplaceAll(regexp.QuoteMeta(squeeze(pattern)), `\*`, `(?s:.*)`)
	return regexp.MustCompile("(?i)^" + pattern + "$").MatchString(squeeze(text))
}

func newOperator(t *testing.T, role pki.Role, nodes map[string]*trial.Node) *operatorOf {
	t.Helper()
	o := &operatorOf{t, map[string]string{"HOLDFAST_CONFIG": filepath.Join(t.TempDir(), "contexts.yaml")}}
	args := []string{"ctx", "add", "lab"}
	for _, name := range []string{"one", "two"} {
		n := nodes[name]
		if n == nil {
			continue
		}
		if len(args) == 3 {
			c := n.Issue(t, "olga", role)
			args = append(args, "--cert", c.CertificateFile, "--key", c.KeyFile)
		}
		args = append(args, "--node", name+"="+n.Endpoint, "--pin", name+"="+n.Fingerprint)
	}
	o.want(done, "", "", args...)
	return o
}

func TestNode(t *testing.T) {
	n := trial.Start(t, map[string]trial.Service{
		"quiet":  {Script: "exec sleep 600"},
		"talker": {Script: "echo one; printf 'two \\033[31m red\\n'; exec sleep 600"},
		"broken": {Script: "exit 3", Type: "oneshot"},
	})
	o := newOperator(t, pki.Operator, map[string]*trial.Node{"one": n})
	o.want(done, "this program dev\none 1.2.3, boot b007, you are olga (operator)", "", "version")
	o.want(done, "this program dev", "", "version", "--client")
	o.want(done, "service state pid restarts memory reason\nquiet ready * 0 * -", "", "services", "restart", "quiet")
	o.want(done, "service state pid restarts memory reason\nquiet stopped - 0 * -", "", "services", "stop", "quiet")
	o.want(failed, "", `holdfast: one: restart ghost: no such service: "ghost"`, "services", "restart", "ghost")
	o.want(failed, "", "holdfast: one: *exited with status 3*", "services", "start", "broken")
	o.want(done, "service*\nbroken failed*\nquiet stopped*\ntalker ready*", "", "services", "list")
	o.wantSoon(`one`+"\n"+`two \x1b[31m red`, "logs", "talker") // once PID 1 has read it
	o.want(done, `*Z two \x1b[31m red`, "", "logs", "talker", "-t", "--lines", "1")
	o.want(done, "", "", "logs", "talker", "--since", "1ns")
	o.want(done, "node trial\nversion 1.2.3\nphase running\nup *\nmemory 1.0 GiB of 2.0 GiB available\nposture as claimed\nfault netd: eth0: no lease\n*\nservice*talker ready*", "", "status")
	o.want(done, "secure boot true\nlockdown integrity\nroot hash abcd\nTPM 2.0\nmodules false\nstate ext4", "", "posture")
	o.want(done, "stage step at took detail\n1 open verity 1.200 s 3 ms -\n2 mount state 1.250 s 20 ms -", "", "boot")
	o.want(done, "one restarts", "", "reboot")
	o.want(done, "one switches off", "", "poweroff", "-n", "one")
	for _, want := range []string{"asked: reboot", "asked: power off"} {
		if got := <-n.Asked; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	o.want(failed, "", "holdfast: context lab has no node three, but one", "status", "-n", "three")
	code, out, _ := o.run("status", "-o", "json")
	var results []struct {
		Node   string
		Answer struct{ Version string }
	}
	if err := json.Unmarshal([]byte(out), &results); err != nil || code != done || len(results) != 1 || results[0].Answer.Version != "1.2.3" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReaderIsToldWhatItLacks(t *testing.T) {
	n := trial.Start(t, map[string]trial.Service{"quiet": {Script: "exec sleep 600"}})
	o := newOperator(t, pki.Reader, map[string]*trial.Node{"one": n})
	o.want(failed, "", "holdfast: one: olga is reader here; reboot needs the role operator", "reboot")
	o.want(failed, "*\"code\": \"forbidden\"*", "holdfast: one: olga is reader here*", "services", "stop", "quiet", "-o", "json")
}

// Two nodes, of which one has another key than it had: each has its own result.
func TestSeveralNodes(t *testing.T) {
	one := trial.Start(t, map[string]trial.Service{"talker": {Script: "echo one; exec sleep 600"}})
	two := trial.Start(t, nil)
	o := newOperator(t, pki.Operator, map[string]*trial.Node{"one": one, "two": two})
	o.want(usage, "", "holdfast: context lab has 2 nodes; say which with -n: one,two\nTry*", "reboot")
	o.want(failed, "== one\nservice*\ntalker ready*", "holdfast: two: the node does not accept the client certificate*", "services", "list")
	o.wantSoon("one", "logs", "talker", "-n", "one")
	o.want(failed, "one | one", "holdfast: two: the node does not accept*", "logs", "talker")

	two.Fingerprint = one.Fingerprint
	o = newOperator(t, pki.Operator, map[string]*trial.Node{"two": two})
	o.want(failed, "", "holdfast: two: the node's key is SHA256:*, expected the pinned SHA256:*compare the fingerprint with its console*", "status")
}

func TestUnreachable(t *testing.T) {
	n := trial.Start(t, nil)
	n.Endpoint = "127.0.0.1:1"
	o := newOperator(t, pki.Operator, map[string]*trial.Node{"one": n})
	o.want(failed, "", "holdfast: one: dial tcp 127.0.0.1:1: connect: connection refused: no API is served there", "status")
	o.want(failed, "this program dev", "holdfast: one: dial*", "version")
}

func TestFollow(t *testing.T) {
	n := trial.Start(t, map[string]trial.Service{"talker": {Script: "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo line $i; done; exec sleep 600"}})
	o := newOperator(t, pki.Reader, map[string]*trial.Node{"one": n})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &untilText{text: "line 10000\n", done: cancel}
	var errs bytes.Buffer
	p := program{out: out, err: &errs, env: func(s string) string { return o.env[s] }, now: time.Now}
	if code := p.run(ctx, []string{"logs", "-f", "talker"}); code != done || errs.Len() > 0 {
		t.Errorf("code %d: %s", code, &errs)
	}
	if n := strings.Count(out.String(), "\n"); n != 10000 {
		t.Errorf("%d lines, want all 10000", n)
	}
}

// untilText ends a command when something was printed.
type untilText struct {
	bytes.Buffer
	text string
	done func()
}

func (u *untilText) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if bytes.HasSuffix(u.Bytes(), []byte(u.text)) {
		u.done()
	}
	return n, err
}
