package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartT is Start for a test: the machine ends with it, and a test that failed
// shows the console's end. The whole console is written to the directory that
// HOLDFAST_ARTIFACTS names, if it does.
func StartT(t testing.TB, cfg Config) *VM {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	vm, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Errorf("close machine: %v", err)
		}
		if t.Failed() {
			t.Logf("console of the failed machine:\n%s", vm.console.last(100))
		}
		if err := vm.saveConsole(t.Name()); err != nil {
			t.Errorf("keep console: %v", err)
		}
	})
	return vm
}

func (vm *VM) saveConsole(name string) error {
	dir := os.Getenv("HOLDFAST_ARTIFACTS")
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, line := range vm.ConsoleLines() {
		fmt.Fprintf(&b, "%s %s\n", line.At.Format("15:04:05.000"), line.Text)
	}
	file := strings.NewReplacer("/", "_", " ", "_").Replace(name) + ".console"
	return os.WriteFile(filepath.Join(dir, file), b.Bytes(), 0o644)
}
