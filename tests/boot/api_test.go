package boot

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/init/status"
	"holdfast/services/api"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// commandLine is the operator's program with a home of its own.
type commandLine struct {
	t         *testing.T
	bin, home string
}

func newCommandLine(t *testing.T) commandLine {
	t.Helper()
	dir := t.TempDir()
	c := commandLine{t, filepath.Join(dir, "holdfast"), dir}
	if out, err := exec.Command("go", "build", "-o", c.bin, "holdfast/services/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return c
}

func (c commandLine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+c.home, "XDG_CONFIG_HOME=", "HOLDFAST_CONFIG=", "HOLDFAST_PKI=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c commandLine) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("holdfast %q: %v: %s", args, err, out)
	}
	return out
}

// nodeConfig gives a node the authority's bundle.
func (c commandLine) nodeConfig() string {
	bundle := strings.ReplaceAll(strings.TrimSpace(c.run("pki", "bundle")), "\n", "\n    ")
	return "apiVersion: holdfast/v1\nkind: NodeConfig\nhostname: api-node\napi:\n  clientBundle: |\n    " + bundle + "\ndemo: true\n"
}

// TestOperatorUsesTheAPI is all that an operator does: makes an authority,
// gives a node its bundle, pins the key that the node shows, and asks.
func TestOperatorUsesTheAPI(t *testing.T) {
	t.Parallel()
	c := newCommandLine(t)
	c.run("pki", "init")
	c.run("pki", "issue", "olga", "--role", "operator")
	c.run("pki", "issue", "rita", "--role", "reader")
	cfg := release.Open(t).Machine(t)
	cfg.FWCfg = map[string]string{fwConfig: c.nodeConfig()}
	cfg.Forwards = append(cfg.Forwards, qemu.Forward{Guest: api.Port})
	vm := qemu.StartT(t, cfg)
	report := release.Up(t, vm)

	pin, ok := strings.CutPrefix(service(report, "apid").Status, "key ")
	if !ok {
		t.Fatalf("the node shows no key: %+v", service(report, "apid"))
	}
	for _, who := range []string{"olga", "rita"} {
		dir := filepath.Join(c.home, ".config/holdfast/pki/clients", who)
		c.run("ctx", "add", who, "--node", "node="+vm.Addr(api.Port), "--pin", "node="+pin,
			"--cert", filepath.Join(dir, "client.crt"), "--key", filepath.Join(dir, "client.key"))
	}
	var answers []struct{ Answer api.Status }
	if err := json.Unmarshal([]byte(c.run("status", "-o", "json")), &answers); err != nil {
		t.Fatal(err)
	}
	if s := answers[0].Answer; s.Node != "api-node" || s.Phase != status.Running || s.Posture.VerityRoot != report.Posture.VerityRoot {
		t.Errorf("%+v", s)
	}
	t.Log(c.run("status"))
	if out := c.run("services", "restart", "netd"); !strings.Contains(out, "ready") {
		t.Error(out)
	}
	if out := c.run("logs", "apid"); !strings.Contains(out, "serves on port 50000 with the key "+pin) {
		t.Error(out)
	}
	if out, err := c.try("poweroff", "--context", "rita"); err == nil || !strings.Contains(out, "needs the role operator") {
		t.Errorf("%v: %s", err, out)
	}
	c.run("poweroff")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if exit, err := vm.Wait(ctx); err != nil || exit.Reason != qemu.GuestShutdown {
		t.Errorf("%+v, %v", exit, err)
	}
}
