package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"holdfast/rootfs/initrd"
	"holdfast/rootfs/uki"
	"holdfast/tests/release"
)

// parts are what all beds share: files below build/bed.
type parts struct {
	init, actor    string
	kernel, initrd string
}

// makeParts builds PID 1 and the actors from the source as it is, so that a
// test never runs an old PID 1, and takes the kernel out of the release's UKI.
// It runs once in a program.
var makeParts = sync.OnceValues(func() (*parts, error) {
	build, err := release.BuildDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(build, "bed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	p := &parts{
		init: filepath.Join(dir, "init"), actor: filepath.Join(dir, "actor"),
		kernel: filepath.Join(dir, "linux"), initrd: filepath.Join(dir, "initrd"),
	}
	if err := extractKernel(filepath.Join(build, "uki.unsigned.efi"), p.kernel); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir+"/", "holdfast/init", "holdfast/tests/bed/actor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build programs: %w: %s", err, out)
	}
	return p, p.makeInitrd()
})

func extractKernel(unified, to string) error {
	pe, err := os.ReadFile(unified)
	if err != nil {
		return err
	}
	sections, err := uki.Sections(bytes.NewReader(pe))
	if err != nil {
		return fmt.Errorf("read %s: %w", unified, err)
	}
	for _, s := range sections {
		if s.Name == ".linux" {
			return os.WriteFile(to, s.Data, 0o644)
		}
	}
	return fmt.Errorf("read %s: no kernel in it", unified)
}

func (p *parts) makeInitrd() error {
	program, err := os.ReadFile(p.init)
	if err != nil {
		return err
	}
	data, err := initrd.Build(program)
	if err != nil {
		return err
	}
	return os.WriteFile(p.initrd, data, 0o644)
}

// mkfs is the host's mkfs.erofs.
func mkfs(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "mkfs.erofs", args...)
}

// missing says what of the host or of the release is not there.
func missing() error {
	build, err := release.BuildDir()
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(build, "uki.unsigned.efi"))
	for _, tool := range []string{"qemu-system-x86_64", "mkfs.erofs", "mke2fs"} {
		_, lerr := exec.LookPath(tool)
		err = errors.Join(err, lerr)
	}
	return err
}
