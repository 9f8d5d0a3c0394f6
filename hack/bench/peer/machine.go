package peer

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"holdfast/hack/bench/sample"
	"holdfast/rootfs/tree"
	"holdfast/tests/qemu"
)

// programs are what both machines run: files of the build host.
type programs struct{ driver, trivial string }

// files are the programs on a root.
func (p programs) files() []tree.File {
	return []tree.File{
		{Path: driverPath, Source: p.driver, Mode: 0o755}, {Path: trivialPath, Source: p.trivial, Mode: 0o755},
	}
}

const (
	driverPath  = "/usr/bin/driver"
	trivialPath = "/usr/bin/trivial"
)

//go:embed trivial/trivial.c
var trivialSource []byte

// buildPrograms builds both, static, in a directory.
func buildPrograms(ctx context.Context, dir string) (programs, error) {
	p := programs{driver: filepath.Join(dir, "driver"), trivial: filepath.Join(dir, "trivial")}
	link := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", p.driver, "holdfast/hack/bench/driver")
	link.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := link.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build driver: %w: %s", err, out)
	}
	compile := exec.CommandContext(ctx, "gcc", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
		"-Os", "-Wall", "-Wextra", "-Werror", "-s", "-x", "c", "-o", p.trivial, "-")
	compile.Stdin = bytes.NewReader(trivialSource)
	if out, err := compile.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build trivial service: %w: %s", err, out)
	}
	return p, nil
}

// trivialArgs are the command line of a service that starts and stops, or of
// the one that ends when told to.
func trivialArgs(flap bool) []string {
	if flap {
		return []string{trivialPath, "f", sample.FlapRecords, sample.FlapGo}
	}
	return []string{trivialPath, "s", sample.Records}
}

// driverArgs are the driver's command line.
func (s scenario) driverArgs(manager string) []string {
	return []string{
		driverPath, "-manager", manager, "-services", fmt.Sprint(s.services), "-idle", s.idle.String(), "-rounds", fmt.Sprint(s.rounds),
	}
}

// serviceNames are the trivial services of a scenario, as the driver names them.
func (s scenario) serviceNames() (names []string) {
	for i := range s.services {
		names = append(names, fmt.Sprintf("%s%03d", sample.Service, i))
	}
	return names
}

const bootLimit = 15 * time.Minute

// run boots a machine, and returns what its driver says. dir is the machine's.
func run(ctx context.Context, cfg qemu.Config, dir string) (g sample.Guest, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	answer := filepath.Join(dir, "answer")
	cfg.NoNIC, cfg.NoTPM, cfg.Prealloc = true, true, true
	cfg.Args = []string{
		"-chardev", "file,id=bench,path=" + answer, "-device", "virtserialport,chardev=bench,name=" + sample.Port,
	}
	vm, err := qemu.Start(ctx, cfg)
	if err != nil {
		return g, err
	}
	defer vm.Close()
	if _, err := vm.Wait(ctx); err != nil {
		return g, err
	}
	data, err := os.ReadFile(answer)
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return g, fmt.Errorf("the driver's answer %q: %w\n%s", data, err, console(vm))
	}
	if g.Error != "" {
		return g, fmt.Errorf("driver: %s\n%s", g.Error, console(vm))
	}
	return g, nil
}

// console renders the newest lines of a machine that failed.
func console(vm *qemu.VM) string {
	var b strings.Builder
	lines := vm.ConsoleLines()
	for _, l := range lines[max(0, len(lines)-30):] {
		fmt.Fprintf(&b, "  | %s\n", l.Text)
	}
	return b.String()
}
