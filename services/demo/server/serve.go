package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// answer is what GET / says.
type answer struct {
	Node           string    `json:"node"`
	Pod            string    `json:"pod"`
	Started        time.Time `json:"started"`
	ServingSinceMs int64     `json:"servingSinceMs"` // since the node's kernel started
}

// run serves until ctx ends, then lets running requests end.
func run(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return fmt.Errorf("read uptime: %w", err)
	}
	since, err := uptimeMs(string(uptime))
	if err != nil {
		return err
	}
	server := http.Server{
		Handler: handler(answer{
			Node:           os.Getenv("NODE_NAME"),
			Pod:            os.Getenv("POD_NAME"),
			Started:        time.Now().UTC(),
			ServingSinceMs: since,
		}),
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 5 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func handler(a answer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(a) // an error here is the client's: it went away
	})
	return mux
}

// uptimeMs parses /proc/uptime, whose first number is CLOCK_BOOTTIME in
// seconds. A pod has no time namespace, so it is the node's clock.
func uptimeMs(content string) (int64, error) {
	first, _, _ := strings.Cut(content, " ")
	var seconds float64
	if _, err := fmt.Sscanf(first, "%g", &seconds); err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 1e12 {
		return 0, errors.New("read uptime: want a number of seconds")
	}
	return int64(seconds*1000 + 0.5), nil
}
