package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"holdfast/hack/node"
	"holdfast/tests/probe"
	"holdfast/tests/probe/pod"
	"holdfast/tests/qemu"
)

const (
	bootLimit  = 4 * time.Minute // per boot; what is measured is far below
	startLimit = 10 * time.Minute
)

// boot boots a fresh node, waits until its pod serves, and calls look.
func boot(ctx context.Context, o options, cfg qemu.Config, look func(context.Context, *qemu.VM, node.Up) error) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	var err error
	cfg.Disk = filepath.Join(o.dir, "disk.raw")
	if cfg.Vars, err = node.Variables(ctx, cfg.Disk, io.Discard); err != nil {
		return err
	}
	cfg.DiskSize, cfg.Prealloc = 4<<30, true
	cfg.Forwards = append(cfg.Forwards, qemu.Forward{Guest: node.PodPort})
	vm, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer vm.Close()
	up, err := node.Serving(ctx, vm)
	if err != nil {
		return err
	}
	return look(ctx, vm, up)
}

// boots measures the guest's time until the pod serves, and PID 1.
func boots(ctx context.Context, o options, out io.Writer) ([]figure, error) {
	var podS, initMB []float64
	for i := range o.boots {
		err := boot(ctx, o, qemu.Config{}, func(_ context.Context, _ *qemu.VM, up node.Up) error {
			podS = append(podS, float64(up.PodMs)/1000)
			initMB = append(initMB, float64(up.Report.Memory.InitRSSKiB)*1024/1e6)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("boot %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "boot %d of %d: pod serving at %.1f s, PID 1 %.1f MB\n", i+1, o.boots, podS[i], initMB[i])
	}
	return []figure{
		{fmt.Sprintf("pod serving, guest time, 2 CPUs, %s", qemu.Accel()), median(podS), 12, "s"},
		{"PID 1, resident", median(initMB), 12, "MB"},
	}, nil
}

// memory adds up PID 1 and our daemons, as the probe sees them.
func memory(ctx context.Context, o options, _ io.Writer) ([]figure, error) {
	dir, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var cfg qemu.Config
	stop, err := pod.Prepare(ctx, dir, &cfg, "demo: true\n")
	if err != nil {
		return nil, err
	}
	defer stop()
	total := 0.0
	err = boot(ctx, o, cfg, func(ctx context.Context, vm *qemu.VM, _ node.Up) error {
		client := pod.Client(vm)
		if err := client.Wait(ctx); err != nil {
			return err
		}
		processes, err := client.Processes(ctx)
		total = ownMB(processes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measure memory: %w", err)
	}
	return []figure{{"own userland (PID 1, daemons), resident", total, 30, "MB"}}, nil
}

// ownMB is the memory of the processes that are this project's, in MB.
func ownMB(processes []probe.Process) (mb float64) {
	for _, p := range processes {
		if p.PID == 1 || p.Comm == "holdfastd" {
			mb += float64(p.RSSKiB) * 1024 / 1e6
		}
	}
	return mb
}

// warmStart measures a second "make run" up to the line before QEMU starts.
func warmStart(ctx context.Context, o options, _ io.Writer) ([]figure, error) {
	dir, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var took time.Duration
	for range 2 { // the first one builds what is missing
		if took, err = timeToStart(ctx, dir); err != nil {
			return nil, fmt.Errorf("measure make run: %w", err)
		}
	}
	return []figure{{"make run, nothing changed, until QEMU starts", took.Seconds(), 3, "s"}}, nil
}

// timeToStart runs "make run" until it starts QEMU, then interrupts it twice.
func timeToStart(ctx context.Context, dir string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "make", "run", "ONCE=1", "RUN_FLAGS=-fresh -dir "+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	took := time.Duration(0)
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		switch lines.Text() {
		case node.Starting:
			took = time.Since(began)
			fallthrough // the first interrupt shuts down, the second cuts the power
		case node.Stopping:
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				return 0, err
			}
		}
	}
	err = cmd.Wait()
	if took == 0 {
		return 0, fmt.Errorf("it did not start QEMU: %w\n%s", err, stderr.String())
	}
	return took, nil // how it ended does not matter: it was interrupted
}
