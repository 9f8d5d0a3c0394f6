// Package pod brings the probe onto a node under test: it builds the probe's image, serves it as a registry that only this machine can reach, and configures the node to run it.
package pod

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/rootfs/oci"
	"holdfast/tests/probe"
	"holdfast/tests/qemu"
)

const (
	configKey  = "opt/holdfast/config"
	imageName  = "holdfast.test/probe:1"
	mirrorAddr = "10.0.2.100:5000" // on the guest's network
)

// Install is Prepare for a test.
func Install(t testing.TB, cfg *qemu.Config, extra string) {
	t.Helper()
	stop, err := Prepare(t.Context(), t.TempDir(), cfg, extra)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// Prepare adds to a machine what makes it run the probe: the node's
// configuration, a way to the registry, and a forward to the probe. extra is
// further top-level keys of the configuration, in YAML. The program is built in
// dir. The registry serves until stop is called.
func Prepare(ctx context.Context, dir string, cfg *qemu.Config, extra string) (stop func(), err error) {
	addr, stop, err := serve(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("prepare probe: %w", err)
	}
	cfg.GuestForwards = append(cfg.GuestForwards, qemu.GuestForward{Guest: mirrorAddr, Host: addr})
	cfg.Forwards = append(cfg.Forwards, qemu.Forward{Guest: probe.Port})
	fwCfg := map[string]string{} // not the caller's map
	maps.Copy(fwCfg, cfg.FWCfg)
	fwCfg[configKey] = NodeConfig(extra)
	cfg.FWCfg = fwCfg
	return stop, nil
}

// Client talks to the probe of a machine that Install prepared.
func Client(vm *qemu.VM) probe.Client { return probe.Client{Addr: vm.Addr(probe.Port)} }

// NodeConfig is the configuration of a node that runs the probe.
func NodeConfig(extra string) string {
	return fmt.Sprintf(`apiVersion: holdfast/v1
kind: NodeConfig
registries:
  mirrors:
    %s:
      endpoints: ["http://%s"]
staticPods:
- apiVersion: v1
  kind: Pod
  metadata: {name: probe, namespace: default}
  spec:
    hostNetwork: true
    hostPID: true
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: 1
    containers:
    - name: probe
      image: %s
      imagePullPolicy: IfNotPresent
      securityContext: {privileged: true, runAsUser: 0}
%s`, strings.Split(imageName, "/")[0], mirrorAddr, imageName, extra)
}

// image builds the probe's program and image in dir, and returns the image's archive.
func image(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "probe")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "holdfast/tests/probe/cmd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build program: %w: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	img, err := oci.New(imageName, "0:0", []string{"/probe"}, oci.File{Path: "probe", Mode: 0o755, Data: content})
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "probe.tar")
	return archive, img.Write(archive)
}
