package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHandler(t *testing.T) {
	server := httptest.NewServer(handler(answer{Node: "n1", ServingSinceMs: 1234}))
	defer server.Close()
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/other": 404} {
		response, err := http.Get(server.URL + path)
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
