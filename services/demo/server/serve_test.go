package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(listener, answer{Node: "n1", ServingSinceMs: 1234}) }()
	defer func() {
		listener.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + listener.Addr().String()
	if response, err := http.Post(url, "text/plain", nil); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", response, err)
	}
	if response, err := http.Get(url + "/" + strings.Repeat("x", 8192)); err == nil {
		t.Errorf("a request line of 8 KiB: status %d, want a closed connection", response.StatusCode)
	}
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/other": 404} {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d (%v)", path, response.StatusCode, want, err)
		}
		if path != "/" {
			continue
		}
		var got answer
		if err := json.Unmarshal(body, &got); err != nil || got.Node != "n1" || got.ServingSinceMs != 1234 {
			t.Errorf("GET /: %s (%v)", body, err)
		}
	}
}

func TestUptime(t *testing.T) {
	for content, want := range map[string]int64{"12.34 56.78\n": 12340, "0.05 0.00": 50, "": -1, "x 1": -1, "-1 1": -1} {
		got, err := uptimeMs(content)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", content, got, want)
		}
	}
}
