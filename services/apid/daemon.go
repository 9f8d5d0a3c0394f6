package apid

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/services/api"
	"holdfast/services/atomicfile"
	"holdfast/services/notify"
	"holdfast/services/pki"
	"holdfast/services/sandbox"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Dir holds the node's own key. PID 1 makes it, and it belongs to the daemon's user.
const Dir = "/var/lib/holdfast/apid"

// Clients is the bundle of those who may call; the service config writes it.
const Clients = "/run/holdfast/api-clients.pem"

// Spec is how PID 1 runs the daemon: as a user of its own. Confined as package
// sandbox says, it can still:
//
//   - ask PID 1, through its control socket, for all that an operator may;
//   - send to any host, and listen on ports from 1024 on;
//   - write below Dir, where the node's key is, and read those files of
//     /run/holdfast that everybody may read.
//
// It has no capability, and can't reach the rest of the state volume, devices
// or other processes.
func Spec() *specs.Spec {
	s := sandbox.Spec("apid", "/usr/bin/holdfastd", "apid")
	s.Process.Env = []string{"GOMEMLIMIT=32MiB"}
	s.Process.User = specs.User{UID: control.UserAPI, GID: control.UserAPI, AdditionalGids: []uint32{control.GroupReader, control.GroupOperator}}
	run := sandbox.Bind(filepath.Dir(Clients)) // not its files: they are replaced by others
	run.Options = append(run.Options, "ro")
	s.Mounts = append(s.Mounts, run, specs.Mount{
		Destination: "/var", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "nosuid", "nodev", "noexec", "mode=0755", "size=64k"},
	}, sandbox.Bind(Dir))
	s.Linux.MaskedPaths = slices.DeleteFunc(s.Linux.MaskedPaths, func(p string) bool { return p == "/var" })
	s.Linux.Seccomp = sandbox.Go(append(
		sandbox.Sockets(unix.AF_UNIX, unix.AF_INET, unix.AF_INET6),
		sandbox.Serve(), sandbox.WriteFiles())...)
	memory, pids := int64(64<<20), int64(64)
	s.Linux.Resources = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids},
	}
	sandbox.Yield(s)
	s.Annotations = map[string]string{
		"holdfast.type":     "notify",
		"holdfast.requires": "config",
		"holdfast.restart":  "on-failure",
	}
	return s
}

// Run serves the API until the context ends. A node that was told of no
// clients serves nothing, and the daemon ends.
func Run(ctx context.Context) error {
	supervisor := notify.FromEnvironment()
	bundle := &bundle{file: Clients}
	if err := bundle.read(); errors.Is(err, fs.ErrNotExist) {
		return supervisor.Ready()
	} else if err != nil {
		return err
	}
	key, err := ownKey(filepath.Join(Dir, "node.key"))
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	own, err := pki.NewServing(key, []string{name}, nil, time.Now())
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(api.Port)))
	if err != nil {
		return err
	}
	fmt.Printf("serves on port %d with the key %s\n", api.Port, pki.Fingerprint(own))
	if err := errors.Join(supervisor.Status("key %s", pki.Fingerprint(own)), supervisor.Ready()); err != nil {
		return err
	}
	s := &Server{Control: control.Socket, Report: status.File, Trust: bundle.trust, Now: time.Now, Node: func() string { return name }}
	return s.Serve(ctx, l, tls.Certificate{Certificate: [][]byte{own.Raw}, PrivateKey: key, Leaf: own})
}

// ownKey reads the node's key, or makes it: it never leaves the node.
func ownKey(file string) (crypto.Signer, error) {
	key, err := pki.ReadKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	text, err := pki.EncodeKey(fresh)
	if err != nil {
		return nil, err
	}
	return fresh, atomicfile.Replace(file, 0o600, text)
}

// bundle is a file that may be replaced at any time.
type bundle struct {
	file string

	mu    sync.Mutex
	seen  os.FileInfo
	known pki.Trust
}

// trust is what the file says now. While it can't be read, what it said
// before counts.
func (b *bundle) trust() pki.Trust {
	if err := b.read(); err != nil {
		fmt.Fprintf(os.Stderr, "%v; the clients known before stay\n", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// read reads the file when it is not the one seen last.
func (b *bundle) read() error {
	st, err := os.Stat(b.file)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen != nil && os.SameFile(st, b.seen) && st.ModTime().Equal(b.seen.ModTime()) {
		return nil
	}
	data, err := os.ReadFile(b.file)
	if err != nil {
		return err
	}
	t, err := pki.ParseTrust(data)
	if err != nil {
		return fmt.Errorf("%s %w", b.file, err)
	}
	b.seen, b.known = st, t
	return nil
}
