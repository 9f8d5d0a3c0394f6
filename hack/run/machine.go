package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/hack/node"
	"holdfast/tests/qemu"
)

// diskBytes is how large the node sees its disk; it is sparse.
const diskBytes = 16 << 30

// startNode starts the machine on the state that the directory keeps.
func startNode(ctx context.Context, o options, out io.Writer) (*qemu.VM, error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	vars := o.vars
	if vars == "" {
		var err error
		if vars, err = node.Variables(ctx, o.disk, out); err != nil {
			return nil, err
		}
	}
	disk, err := stateDisk(ctx, o, out)
	if err != nil {
		return nil, err
	}
	cfg := qemu.Config{
		Disk: disk, InPlace: true, Cache: "writeback", Vars: vars, TPMDir: filepath.Join(o.dir, "tpm"),
		MemoryMiB: o.memoryMiB, Prealloc: true, CPUs: o.cpus, CPU: o.cpu, Reboot: !o.once,
		Forwards: []qemu.Forward{{Guest: node.PodPort, Host: o.port}}, Console: console(out),
	}
	if o.config != "" {
		content, err := os.ReadFile(o.config)
		if err != nil {
			return nil, fmt.Errorf("read node configuration: %w", err)
		}
		cfg.FWCfg = map[string]string{"opt/holdfast/config": string(content)}
	}
	fmt.Fprintln(out, node.Starting)
	return qemu.Start(ctx, cfg)
}

// stateDisk returns the overlay that keeps what the node wrote. One that
// belongs to another build of the disk is of no use and is removed.
func stateDisk(ctx context.Context, o options, out io.Writer) (string, error) {
	info, err := os.Stat(o.disk)
	if err != nil {
		return "", fmt.Errorf("find disk (make build): %w", err)
	}
	path := filepath.Join(o.dir, fmt.Sprintf("disk-%x-%x.qcow2", info.Size(), info.ModTime().UnixNano()))
	old, err := filepath.Glob(filepath.Join(o.dir, "disk-*.qcow2"))
	if err != nil {
		return "", err
	}
	for _, file := range old {
		if file == path && !o.fresh {
			fmt.Fprintln(out, "Using the state of the last run; -fresh forgets it.")
			return path, nil
		}
		if err := os.Remove(file); err != nil {
			return "", err
		}
	}
	if err := os.RemoveAll(filepath.Join(o.dir, "tpm")); err != nil {
		return "", err
	}
	tmp := path + ".new"
	if err := qemu.Overlay(ctx, tmp, o.disk, diskBytes); err != nil {
		return "", err
	}
	return path, os.Rename(tmp, path)
}

// prefixed marks the node's lines: dimmed on a terminal, else by a bar.
type prefixed struct {
	out           io.Writer
	before, after string
}

func console(out io.Writer) io.Writer {
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return prefixed{out, "\x1b[2m", "\x1b[0m\n"}
		}
	}
	return prefixed{out, "| ", "\n"}
}

// Write gets one line with its newline.
func (p prefixed) Write(line []byte) (int, error) {
	_, err := fmt.Fprintf(p.out, "%s%s%s", p.before, line[:len(line)-1], p.after)
	return len(line), err
}
