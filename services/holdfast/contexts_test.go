package main

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:50000", "node.example.org:1": "node.example.org:1", "2001:db8::1": "[2001:db8::1]:50000",
		"[2001:db8::1]": "[2001:db8::1]:50000", "[2001:db8::1]:443": "[2001:db8::1]:443", "h": "h:50000",
		"": "", ":5": "", "h:": "", "h:0": "", "h:65536": "", "h:x": "", "http://h": "", "a b": "", "u@h": "", "h/p": "",
	} {
		if got, err := parseEndpoint(s); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\tü\x1b[31m\r\n\u202e\xff"); got != "a\tü\\x1b[31m\\x0d\\x0a\\x202e�" {
		t.Errorf("%q", got)
	}
}

func FuzzParseContexts(f *testing.F) {
	f.Add([]byte("current: a\ncontexts:\n- {name: a, nodes: [{name: n, endpoint: h}], authority: x}\n"))
	f.Add([]byte("contexts: [{}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseContexts(data)
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("not one line: %q", err)
		}
		if err == nil && c.Current != "" && c.find(c.Current) < 0 {
			t.Errorf("current is %q of %v", c.Current, c.names())
		}
	})
}
