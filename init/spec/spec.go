// Package spec is a supervised service: an OCI runtime specification plus the supervision annotations.
//
// A specification is a file <name>.json below Dir on the verified root. Its
// shape is that of the OCI runtime specification (config.md, config-linux.md);
// a field that PID 1 does not honour is refused, never ignored.
package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Dir is where the root file system keeps the specifications.
const Dir = "/usr/lib/holdfast/services"

// Type says when a service counts as ready.
type Type string

const (
	Notify  Type = "notify"  // when it says READY=1 (sd_notify(3))
	Simple  Type = "simple"  // as soon as it runs
	Oneshot Type = "oneshot" // when it has ended with status 0
)

// Restart says when a service that ended is started again.
type Restart string

const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure"
	Never     Restart = "never"
)

// Stop says whom a stop reaches.
type Stop string

const (
	StopMain Stop = "main" // the main process only; the rest of the cgroup lives on
	StopAll  Stop = "all"  // the whole cgroup
)

// Service is one service, its annotations read and checked.
type Service struct {
	Name     string
	OCI      specs.Spec
	Requires []string // ready before it starts, and stopped after it
	Type     Type
	Restart  Restart
	Limit    Limit
	Stop     Stop

	TimeoutStart, TimeoutStop, Watchdog time.Duration

	Backoff time.Duration // before the first restart in a row; it doubles up to 10 s, 0 stays 0

	SignalShutdown string // sent instead of SIGTERM when the machine goes down

	Early    bool // its process is made before what it requires is ready, and held at its gate
	Critical bool
	Drain    string // cgroup whose processes end after this service when the machine goes down
}

// GateVariable is in the environment of an early service's process: it names
// the file descriptor to read to its end before anything outside the program
// is touched. That hides the time which a large program needs until main.
const GateVariable = "HOLDFAST_GATE_FD"

// Limit is how many restarts within Per are too many.
type Limit struct {
	Restarts int
	Per      time.Duration
}

// Cgroup is the service's control group.
func (s *Service) Cgroup() string {
	if s.OCI.Linux != nil && s.OCI.Linux.CgroupsPath != "" {
		return s.OCI.Linux.CgroupsPath
	}
	return "/system/" + s.Name
}

// Load reads and checks every specification of a directory.
func Load(dir string) ([]*Service, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []*Service
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read service: %w", err)
		}
		s, err := Parse(strings.TrimSuffix(filepath.Base(file), ".json"), data)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return Order(out)
}

const maxSize = 1 << 20

// Parse reads one specification.
func Parse(name string, data []byte) (*Service, error) {
	s, err := parse(name, data)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", name, err)
	}
	return s, nil
}

func parse(name string, data []byte) (*Service, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("specification is %d bytes, at most %d are read", len(data), maxSize)
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	s := &Service{Name: name}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s.OCI); err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read specification: data after the end")
	}
	if err := checkHonoured(data); err != nil {
		return nil, err
	}
	if s.OCI.Process == nil || len(s.OCI.Process.Args) == 0 {
		return nil, errors.New("process.args is empty, want a program")
	}
	if !filepath.IsAbs(s.OCI.Process.Args[0]) {
		return nil, fmt.Errorf("process.args[0] is %q, want an absolute path", s.OCI.Process.Args[0])
	}
	if g := s.Cgroup(); !strings.HasPrefix(g, "/system/") || filepath.Clean(g) != g {
		return nil, fmt.Errorf("linux.cgroupsPath is %q, want a clean path below /system", g)
	}
	return s, s.annotate()
}

func checkName(name string) error {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Errorf("name has %q, want a-z, 0-9 and -", r)
		}
	}
	if name == "" || len(name) > 32 {
		return errors.New("name is empty or longer than 32 bytes")
	}
	return nil
}
