// Package spec is a supervised service: an OCI runtime specification plus the supervision annotations.
//
// A specification is a file <name>.json below Dir on the verified root. Its
// shape is that of the OCI runtime specification (config.md, config-linux.md);
// a field that PID 1 does not honour is refused, never ignored: see honoured.
// What is honoured differs from a container runtime in this:
//
//   - There is no root.path: a service has the machine's root. root.readonly
//     makes all of it read-only that mounts do not put in place.
//   - A mount takes the place of what was mounted at its destination. A
//     destination that does not exist is made where that can be done.
//   - rootfsPropagation is rslave where it is not said: the host's later mounts
//     arrive, and what the service mounts never reaches the host. Only a bind
//     with the option shared or rshared stays a peer of the host's mount.
//   - A namespace can't be joined by its path. A new network namespace has lo up.
//     As process 1 of a PID namespace a program gets SIGTERM only if it handles
//     it (pid_namespaces(7)); else a stop waits for timeout-stop.
//   - In a user namespace root must be mapped, as it sets the process up, and
//     limits can only be lowered.
//   - Without capabilities a process has all of PID 1's. Without RLIMIT_NOFILE
//     its soft limit of open files is 1024.
//   - selinuxLabel is applied when SELinux is on and has a policy. When it is
//     off, the label is accepted and nothing is done: one specification serves
//     both.
//   - seccomp wants noNewPrivileges; for its dialect see package seccomp.
//   - resources are those of cgroup v2, and unified may set the files of limits
//     alone. blockIO.weight and memory.swap want a kernel with io.weight and
//     swap; where the file is missing the service can't be prepared.
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

	"holdfast/init/internal/plan"
	"holdfast/kernel/cgroup"
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
	Name      string
	OCI       specs.Spec
	Plan      plan.Plan        // OCI, for the child
	Resources []cgroup.Setting // OCI, for its cgroup
	Requires  []string         // ready before it starts, and stopped after it
	Type      Type
	Restart   Restart
	Limit     Limit
	Stop      Stop

	TimeoutStart, TimeoutStop, Watchdog time.Duration

	Backoff time.Duration // before the first restart in a row; it doubles up to 10 s, 0 stays 0

	SignalShutdown string // sent instead of SIGTERM when the machine goes down

	Directories []string // made before each start: root's, mode 0755

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
	if err := checkHonoured(&s.OCI); err != nil {
		return nil, err
	}
	if g := s.Cgroup(); !strings.HasPrefix(g, "/system/") || filepath.Clean(g) != g {
		return nil, fmt.Errorf("linux.cgroupsPath is %q, want a clean path below /system", g)
	}
	if err := s.annotate(); err != nil {
		return nil, err
	}
	return s, s.prepare()
}

// prepare works out what the supervisor needs at each start.
func (s *Service) prepare() (err error) {
	if s.Plan, err = plan.New(&s.OCI); err != nil {
		return err
	}
	if s.OCI.Linux == nil {
		return nil
	}
	if s.Resources, err = cgroup.Settings(s.OCI.Linux.Resources); err != nil {
		return err
	}
	if s.Early && cgroup.Find(s.Resources, "cpu.idle") != "" {
		return errors.New("linux.resources.cpu.idle: an early service's group is idle only until it passes its gate")
	}
	return nil
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
