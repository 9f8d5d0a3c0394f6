package qemu

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// makeFiles prepares the machine's own files.
func (vm *VM) makeFiles(ctx context.Context) (err error) {
	vm.dir = vm.cfg.Dir
	if vm.dir == "" {
		vm.ownDir = true
		if vm.dir, err = os.MkdirTemp("", "holdfast-vm-"); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	vm.vars = filepath.Join(vm.dir, "vars.fd")
	if err := copyFile(vm.vars, vm.cfg.Vars); err != nil {
		return fmt.Errorf("copy firmware variables: %w", err)
	}
	for name, content := range vm.cfg.FWCfg {
		if err := os.WriteFile(vm.fwCfgFile(name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write fw_cfg %s: %w", name, err)
		}
	}
	return vm.makeDisk(ctx)
}

func (vm *VM) makeDisk(ctx context.Context) (err error) {
	c := vm.cfg
	switch {
	case c.Disk == "":
		return nil
	case c.InPlace:
		vm.disk = c.Disk
		return nil
	case c.CopyDisk:
		vm.disk = filepath.Join(vm.dir, "disk.raw")
		return CopyImage(ctx, vm.disk, c.Disk, c.DiskSize)
	}
	vm.disk = filepath.Join(vm.dir, "disk.qcow2")
	return Overlay(ctx, vm.disk, c.Disk, c.DiskSize)
}

func (vm *VM) fwCfgFile(name string) string {
	return filepath.Join(vm.dir, "fw_cfg."+strings.ReplaceAll(name, "/", "."))
}

func (vm *VM) removeFiles() error {
	if !vm.ownDir {
		return nil
	}
	return os.RemoveAll(vm.dir)
}

// Overlay makes a qcow2 image at path that holds what differs from the raw
// image base, and is sizeBytes large if that is more than base.
func Overlay(ctx context.Context, path, base string, sizeBytes int64) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	info, err := os.Stat(base)
	if err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	return command(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base,
		path, strconv.FormatInt(max(sizeBytes, info.Size()), 10))
}

// CopyImage makes a sparse copy of the raw image base at path, sizeBytes large
// if that is more than base.
func CopyImage(ctx context.Context, path, base string, sizeBytes int64) error {
	if err := command(ctx, "cp", "--sparse=always", "--reflink=auto", base, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() >= sizeBytes {
		return err
	}
	return os.Truncate(path, sizeBytes)
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}
