// Package trial serves a node's API outside a node, for tests: the daemon's code, TLS and all, over PID 1's real control socket.
package trial

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/init/status"
	"holdfast/services/apid"
	"holdfast/services/pki"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Node is a node under trial.
type Node struct {
	Endpoint    string
	Fingerprint string
	Authority   *pki.Directory
	Asked       <-chan string // what the machine was asked: "asked: reboot"
	Dir         string

	mu    sync.Mutex
	trust pki.Trust
	now   func() time.Time
}

// Service is a shell script; Type is PID 1's word, simple when empty.
type Service struct{ Script, Type string }

// Start runs services by name. It needs root, for control groups.
func Start(t testing.TB, services map[string]Service) *Node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("services need control groups, which need root")
	}
	n := &Node{Dir: t.TempDir(), now: time.Now}
	for name, s := range services {
		n.writeSpec(t, name, s)
	}
	if err := os.Mkdir(filepath.Join(n.Dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.report(t)
	n.startInit(t)
	var err error
	if n.Authority, err = pki.Init(filepath.Join(n.Dir, "pki"), "trial", key(t), pki.AuthorityLife, time.Now()); err != nil {
		t.Fatal(err)
	}
	n.Reload(t)
	n.serve(t)
	return n
}

func (n *Node) writeSpec(t testing.TB, name string, s Service) {
	if s.Type == "" {
		s.Type = "simple"
	}
	data, err := json.Marshal(specs.Spec{
		Version:     specs.Version,
		Process:     &specs.Process{Args: []string{"/bin/sh", "-c", s.Script}, Cwd: "/"},
		Linux:       &specs.Linux{CgroupsPath: fmt.Sprintf("/system/trial-%d/%s", os.Getpid(), name)},
		Annotations: map[string]string{"holdfast.type": s.Type, "holdfast.restart": "never", "holdfast.timeout-stop": "5s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, name+".json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// report stands for the one that PID 1 keeps.
func (n *Node) report(t testing.TB) {
	data, err := json.Marshal(status.Report{
		Version: "1.2.3", BootID: "b007", Phase: status.Running,
		Steps:   []status.Step{{Stage: 1, Name: "open verity", AtMs: 1200, TookMs: 3}, {Stage: 2, Name: "mount state", AtMs: 1250, TookMs: 20}},
		Posture: status.Posture{SecureBoot: true, Lockdown: "integrity", VerityRoot: "abcd", TPM: "2.0", State: "ext4"},
		Faults:  []status.Fault{{Source: "netd", Text: "eth0: no lease"}},
		Memory:  status.Memory{TotalKiB: 2 << 20, AvailableKiB: 1 << 20},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(n.Dir, "status"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startInit builds and runs the supervisor with its socket.
func (n *Node) startInit(t testing.TB) {
	bin := filepath.Join(n.Dir, "init")
	if out, err := exec.Command("go", "build", "-o", bin, "holdfast/init/internal/operator/trial").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(bin, n.Dir)
	log := &strings.Builder{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("supervisor: %v\n%s", err, log)
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("supervisor says %q", lines.Text())
	}
	asked := make(chan string, 16)
	n.Asked = asked
	go func() {
		for lines.Scan() {
			asked <- lines.Text()
		}
		close(asked)
		_, _ = io.Copy(io.Discard, out)
	}()
}

func (n *Node) serve(t testing.TB) {
	own := key(t)
	c, err := pki.NewServing(own, []string{"trial"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &apid.Server{
		Control: filepath.Join(n.Dir, "control.sock"), Report: filepath.Join(n.Dir, "status"),
		Node:  func() string { return "trial" },
		Now:   func() time.Time { n.mu.Lock(); defer n.mu.Unlock(); return n.now() },
		Trust: func() pki.Trust { n.mu.Lock(); defer n.mu.Unlock(); return n.trust },
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(ctx, l, tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: own, Leaf: c})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n.Endpoint, n.Fingerprint = l.Addr().String(), pki.Fingerprint(c)
}

// Reload gives the node the authority's newest bundle.
func (n *Node) Reload(t testing.TB) {
	trust, err := n.Authority.Trust()
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trust = trust
}

// SetClock gives the node another clock.
func (n *Node) SetClock(now func() time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = now
}

// Issue makes a client.
func (n *Node) Issue(t testing.TB, name string, role pki.Role) pki.Client {
	t.Helper()
	c, err := n.Authority.Issue(pki.Request{Name: name, Role: role, Life: pki.DefaultLife}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TLS is a client's side of a connection.
func (n *Node) TLS(t testing.TB, c pki.Client) *tls.Config {
	t.Helper()
	signer, err := pki.ReadKey(c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	own, err := pki.Pair(c.Certificate, signer)
	if err != nil {
		t.Fatal(err)
	}
	return pki.ClientConfig(own, pki.Peer{Fingerprint: n.Fingerprint}, time.Now)
}

func key(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
