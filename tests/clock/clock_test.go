package clock

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/rootfs/initrd"
	"holdfast/rootfs/uki"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// kernel takes the kernel out of the release's UKI.
func kernel(t *testing.T) string {
	t.Helper()
	pe, err := os.ReadFile(release.Open(t).UnsignedUKI())
	if err != nil {
		t.Fatal(err)
	}
	sections, err := uki.Sections(bytes.NewReader(pe))
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "linux")
	for _, s := range sections {
		if s.Name == ".linux" {
			if err := os.WriteFile(to, s.Data, 0o644); err != nil {
				t.Fatal(err)
			}
			return to
		}
	}
	t.Fatal("no kernel in the UKI")
	return ""
}

// guest builds the machine's only program, as an initrd.
func guest(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := initrd.Build(data)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "initrd")
	if err := os.WriteFile(to, packed, 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// checks is how many the guest carries out.
const checks = 10

func TestTimedSetsTheClock(t *testing.T) {
	t.Parallel()
	vm := qemu.StartT(t, qemu.Config{
		Kernel: kernel(t), Initrd: guest(t), Cmdline: "console=ttyS0 quiet panic=-1",
		MemoryMiB: 256, NoNIC: true, NoTPM: true, Args: []string{"-rtc", "base=1990-01-01T00:00:00"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	_, err := vm.WaitConsole(ctx, regexp.MustCompile(`^done$`))
	var log strings.Builder
	passed := 0
	for _, l := range vm.ConsoleLines() {
		fmt.Fprintln(&log, l.Text)
		if strings.HasPrefix(l.Text, "ok: ") {
			passed++
		}
	}
	t.Log(log.String())
	if err != nil {
		t.Fatal(err)
	}
	if passed != checks {
		t.Errorf("%d of %d checks passed", passed, checks)
	}
	if exit, err := vm.Wait(ctx); err != nil || exit.Reason != qemu.GuestShutdown {
		t.Errorf("ended by %q, %v", exit.Reason, err)
	}
}
