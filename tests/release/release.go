// Package release gives tests the release under build/ and machines that boot it.
package release

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"errors"

	"holdfast/init/status"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/manifest"
	"holdfast/tests/qemu"
)

// DemoPort is the host port of the built-in pod on the node.
const DemoPort = 8080

// BootLimit is how long a machine may take to come up. It is generous: the
// machines that run tests are slow and shared.
const BootLimit = 4 * time.Minute

// Release is a built release.
type Release struct {
	Dir string
	manifest.Manifest
	Keys *keys.Keys
}

// Open finds the release. It is built by "make build"; without it a test is
// skipped, and in CI fails.
func Open(t testing.TB) *Release {
	t.Helper()
	r, err := open()
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skipf("no release is built (make build): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var open = sync.OnceValues(func() (*Release, error) {
	dir, err := BuildDir()
	if err != nil {
		return nil, err
	}
	m, err := manifest.Read(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, err
	}
	k, err := keys.Load(filepath.Join(dir, "keys"))
	if err != nil {
		return nil, err
	}
	return &Release{dir, *m, k}, nil
})

// BuildDir is build/ beside the go.mod above the test's folder.
func BuildDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for range 8 {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "build"), nil
		}
		dir = filepath.Dir(dir)
	}
	return "", fmt.Errorf("find go.mod: %w", fs.ErrNotExist)
}

// Disk is the disk image. Nobody writes to it.
func (r *Release) Disk() string { return filepath.Join(r.Dir, "disk.raw") }

// UnsignedUKI is the unified kernel image before it was signed.
func (r *Release) UnsignedUKI() string { return filepath.Join(r.Dir, "uki.unsigned.efi") }

// RootImage and RootTree are the root file system and its hash tree.
func (r *Release) RootImage() string { return filepath.Join(r.Dir, "root.erofs") }
func (r *Release) RootTree() string  { return filepath.Join(r.Dir, "root.verity") }

var enrol sync.Mutex

// Machine is the usual machine: Secure Boot with the release's keys enrolled,
// a TPM, a copy-on-write disk of 4 GiB, and the demo pod's port forwarded.
func (r *Release) Machine(t testing.TB) qemu.Config {
	t.Helper()
	enrol.Lock()
	defer enrol.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), BootLimit)
	defer cancel()
	vars, err := qemu.EnrolledVars(ctx, r.Disk(), r.Keys.ID(), r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return qemu.Config{
		Disk: r.Disk(), DiskSize: 4 << 30, Vars: vars, Forwards: []qemu.Forward{{Guest: DemoPort}},
	}
}

// Up waits until every service of the node is ready.
func Up(t testing.TB, vm *qemu.VM) status.Report {
	t.Helper()
	return Await(t, vm, func(r status.Report) bool { return r.Phase == status.Running })
}

// Await waits for a report of the node.
func Await(t testing.TB, vm *qemu.VM, ok func(status.Report) bool) status.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), BootLimit)
	defer cancel()
	r, err := vm.WaitStatus(ctx, ok)
	if err != nil {
		t.Fatalf("%v\nnewest report: %+v", err, r)
	}
	return r
}

// PowerOff presses the power button and waits for an orderly end.
func PowerOff(t testing.TB, vm *qemu.VM) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := vm.PowerButton(ctx); err != nil {
		t.Fatal(err)
	}
	exit, err := vm.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if exit.Reason != qemu.GuestShutdown {
		t.Fatalf("the machine ended by %q, want %q", exit.Reason, qemu.GuestShutdown)
	}
}
