// Package apid serves the node's API: it decides who may call, and passes on to PID 1 what was asked.
//
// # Decisions
//
// The daemon has no power of its own: what it can do is what PID 1's control
// socket lets a member of the operators' group do. It is one process, so a
// caller's role is enforced here.
//
// A certificate is verified at the handshake and again at each call: a
// connection may outlive the certificate, or be older than its revocation.
//
// Everything is bounded: connections, also those of one address; calls at
// once, long ones apart from short ones; headers, bodies, time. Who reads
// slowly is cut off, and never waited for by others.
package apid

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/init/control"
	"holdfast/services/api"
	"holdfast/services/pki"
)

// Limits.
const (
	maxConnections    = 256
	maxPerAddress     = 64
	maxStreamsPerConn = 32
	maxShort          = 64 // calls at once that take no longer than shortLimit
	maxLong           = 12 // as many as PID 1 has connections for
	shortLimit        = 20 * time.Second
	longLimit         = 10 * time.Minute
	readLimit         = 30 * time.Second // for a request's body
	writeLimit        = 10 * time.Second // for a piece of an answer
	idleLimit         = 2 * time.Minute
	closeLimit        = 5 * time.Second
)

// Server serves the API of one node.
type Server struct {
	Control string // PID 1's socket
	Report  string // the file with PID 1's report
	Trust   func() pki.Trust
	Now     func() time.Time
	Node    func() string // the node's name

	init        sync.Once
	short, long chan struct{}

	mu     sync.Mutex
	client *control.Client
}

// Serve accepts connections until the context ends, and then lets calls end
// for a moment.
func (s *Server) Serve(ctx context.Context, l net.Listener, own tls.Certificate) error {
	conf := pki.ServerConfig(own, s.Trust, s.Now)
	conf.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         conf,
		ReadHeaderTimeout: 10 * time.Second, // the handshake included
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(quiet{}, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreamsPerConn, MaxReceiveBufferPerConnection: 128 << 10, MaxReceiveBufferPerStream: 64 << 10,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: writeLimit,
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		end, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
	})
	defer stop()
	err := server.ServeTLS(limitListener(l), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		<-closed // ServeTLS returns before the last answers are out
		return nil
	}
	return err
}

// quiet drops what net/http says of handshakes that failed: anybody could fill
// the log with them.
type quiet struct{}

func (quiet) Write(p []byte) (int, error) { return len(p), nil }

// Handler serves all calls.
func (s *Server) Handler() http.Handler {
	s.init.Do(func() { s.short, s.long = make(chan struct{}, maxShort), make(chan struct{}, maxLong) })
	mux := http.NewServeMux()
	for _, c := range api.Calls() {
		mux.Handle(c.Method+" "+c.Path, s.call(c))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.identify(r); err != nil {
			fail(w, err)
			return
		}
		fail(w, &api.Error{Code: api.NotFound, Text: fmt.Sprintf("there is no call %s %.100q", r.Method, r.URL.Path)})
	})
	return mux
}

// identify verifies the caller's certificate anew.
func (s *Server) identify(r *http.Request) (pki.Identity, error) {
	if r.TLS == nil {
		return pki.Identity{}, &api.Error{Code: api.Unauthorized, Text: "no TLS"}
	}
	id, err := s.Trust().Verify(r.TLS.PeerCertificates, s.Now())
	if err != nil {
		return id, &api.Error{Code: api.Unauthorized, Text: err.Error()}
	}
	return id, nil
}

// pid1 is the control socket's client, made at the first call: PID 1 and its
// socket are there for as long as the machine is.
func (s *Server) pid1(ctx context.Context) (*control.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		c, err := control.Dial(ctx, s.Control)
		if err != nil {
			return nil, err
		}
		s.client = c
	}
	return s.client, nil
}
