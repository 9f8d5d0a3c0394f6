package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
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

const (
	requestLimit = 5 * time.Second // for a whole request and its answer
	maxHeader    = 64              // lines
	maxOpen      = 64              // connections
)

// run serves until ctx ends, then lets running requests end. It speaks just
// enough HTTP/1.1 (RFC 9112) for a GET: net/http would make the image four
// times as large, and every byte of it is hashed three times at a first boot.
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
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // it ends serve, which is all
	defer stop()
	return serve(listener, answer{
		Node:           os.Getenv("NODE_NAME"),
		Pod:            os.Getenv("POD_NAME"),
		Started:        time.Now().UTC(),
		ServingSinceMs: since,
	})
}

// serve answers each connection's one request; it returns once the listener
// is closed and all have been answered.
func serve(listener net.Listener, a answer) error {
	open := make(chan struct{}, maxOpen)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			for range maxOpen { // all have ended, or met their limit
				open <- struct{}{}
			}
			return nil
		}
		if err != nil {
			return err
		}
		open <- struct{}{}
		go func() {
			defer func() { conn.Close(); <-open }()
			_ = handle(conn, a) // an error here is the client's: it went away
		}()
	}
}

// handle reads a request's head and answers it.
func handle(conn net.Conn, a answer) error {
	if err := conn.SetDeadline(time.Now().Add(requestLimit)); err != nil {
		return err
	}
	r := bufio.NewReader(conn) // a line longer than its buffer is an error
	first, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	request := string(first)
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		if err != nil || n == maxHeader {
			return errors.Join(err, errors.New("no end of the header"))
		}
		if len(strings.TrimSpace(string(line))) == 0 {
			break
		}
	}
	_, err = conn.Write(respond(request, a))
	return err
}

// respond renders the answer to a request line.
func respond(request string, a answer) []byte {
	method, rest, _ := strings.Cut(strings.TrimSpace(request), " ")
	path, _, _ := strings.Cut(rest, " ")
	status, kind, body := "404 Not Found", "text/plain", "not found\n"
	switch {
	case method != "GET":
		status, body = "405 Method Not Allowed", "want GET\n"
	case path == "/healthz":
		status, body = "200 OK", "ok\n"
	case path == "/":
		text, err := json.Marshal(a)
		if err != nil {
			panic(err) // the type holds nothing that JSON cannot
		}
		status, kind, body = "200 OK", "application/json", string(text)+"\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, kind, len(body), body)
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
