package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shell = regexp.MustCompile(`UEFI Interactive Shell`)

// need skips a test on a machine that lacks a tool, and fails it in CI.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestFirmwareComesUp(t *testing.T) {
	need(t, "qemu-system-x86_64", "swtpm")
	ctx := deadline(t, time.Minute)
	vm := StartT(t, Config{MemoryMiB: 256, CPUs: 1, NoNIC: true})
	line, err := vm.WaitConsole(ctx, shell)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vm.WaitConsoleAfter(ctx, line, regexp.MustCompile(`Mapping table`)); err != nil {
		t.Error(err)
	}
	tpm, err := vm.QMP(ctx, "query-tpm", nil)
	if err != nil || !strings.Contains(string(tpm), `"model":"tpm-crb"`) && !strings.Contains(string(tpm), `"model": "tpm-crb"`) {
		t.Errorf("query-tpm: %s, %v", tpm, err)
	}
	if _, err := vm.QMP(ctx, "no-such-command", nil); err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("unknown command: error %v", err)
	}
	_, err = vm.WaitConsole(deadline(t, time.Millisecond), regexp.MustCompile("never"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "UEFI Interactive Shell") {
		t.Errorf("waiting in vain: error %v", err)
	}
	if err := vm.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	exit, err := vm.Wait(ctx)
	if err != nil || exit.Reason != "host-qmp-system-reset" {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if err := vm.PowerButton(ctx); !errors.Is(err, ErrEnded) {
		t.Errorf("power button of an ended machine: %v", err)
	}
	select {
	case <-vm.tpm.done:
	default:
		t.Error("swtpm outlived its machine")
	}
}

func TestForwardsGetFreePorts(t *testing.T) {
	need(t, "qemu-system-x86_64")
	vm := StartT(t, Config{MemoryMiB: 256, CPUs: 1, NoTPM: true, Forwards: []Forward{{Guest: 80}, {Guest: 443}}})
	for _, port := range []int{80, 443} {
		conn, err := net.Dial("tcp", vm.Addr(port))
		if err != nil {
			t.Errorf("dial guest port %d: %v", port, err)
			continue
		}
		conn.Close()
	}
	if a, b := vm.Addr(80), vm.Addr(443); a == b || vm.Addr(1) != "" {
		t.Errorf("addresses of guest ports 80, 443, 1: %q, %q, %q", a, b, vm.Addr(1))
	}
}

func TestContextEndsTheMachine(t *testing.T) {
	need(t, "qemu-system-x86_64", "swtpm")
	ctx, cancel := context.WithCancel(t.Context())
	vm, err := Start(ctx, Config{MemoryMiB: 256, CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := vm.WaitConsole(deadline(t, time.Minute), regexp.MustCompile("never")); !errors.Is(err, ErrEnded) {
		t.Errorf("waiting on an ended machine: %v", err)
	}
	if _, err := vm.Wait(deadline(t, time.Minute)); err == nil {
		t.Error("a killed machine ended without error")
	}
	if err := vm.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(vm.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary files are left in %s: %v", vm.dir, err)
	}
}

func TestStartErrorLeavesNothing(t *testing.T) {
	need(t, "qemu-system-x86_64", "swtpm")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for name, c := range map[string]Config{
		"no such disk":     {Disk: "/no/such/disk"},
		"no such bus":      {Drives: []Drive{{File: "/dev/null", Bus: "floppy"}}},
		"no such argument": {Args: []string{"-no-such-argument"}},
	} {
		_, err := Start(t.Context(), c)
		if err == nil {
			t.Errorf("%s: started", name)
		}
		t.Logf("%s: %v", name, err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left in %s: %v, %v", tmp, left, err)
	}
}
