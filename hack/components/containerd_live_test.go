package components

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/services/containerd"
	"holdfast/services/demo"
)

// TestContainerd runs the tests of containerd's module with the configuration,
// the programs and the images of a root file system. The CRI client that they
// need is in that module's dependencies, not in ours.
func TestContainerd(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("-short: building the components takes minutes")
	case os.Getuid() != 0 && os.Getenv("CI") == "":
		t.Skip("containerd needs root")
	}
	dirs, err := BuildAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	config := filepath.Join(work, "config.toml")
	if err := os.WriteFile(config, []byte(containerd.Config(demo.PauseImage("test"))), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./...")
	cmd.Dir = "containerd"
	cmd.Env = append(os.Environ(), "TEST_CONTAINERD="+dirs["containerd"], "TEST_RUNC="+dirs["runc"],
		"TEST_CONFIG="+config, "TEST_IMAGES="+images(t, work))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// images builds the pause and demo images and returns their directory.
func images(t *testing.T, work string) string {
	t.Helper()
	var programs [2][]byte
	for i, pkg := range []string{demo.PausePackage, demo.ServerPackage} {
		path := filepath.Join(work, fmt.Sprint("program", i))
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		programs[i] = program
	}
	archives, err := demo.Images("test", programs[0], programs[1])
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(work, "images")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, image := range archives {
		if err := image.Write(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
