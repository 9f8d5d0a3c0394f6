package components

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpstreamVersion(t *testing.T) {
	for _, c := range All() {
		version, err := upstreamVersion(filepath.Join(c.Name, "go.mod"), c.Upstream)
		if err != nil || !strings.HasPrefix(version, "v") {
			t.Errorf("%s: version %q, %v", c.Name, version, err)
		}
	}
	if _, err := upstreamVersion("runc/go.mod", "example.org/none"); err == nil {
		t.Error("a module that is not required has a version")
	}
}

func TestArgs(t *testing.T) {
	c := Component{VersionVars: []string{"p.V"}, LinkVars: []string{"p.C="}, Cgo: true}
	got := strings.Join(c.args(Program{"p/cmd", "prog", "a b"}, "v1", "out/prog"), "|")
	want := "build|-trimpath|-buildvcs=false|-tags|a b|-ldflags|-s -w -X p.V=v1 -X p.C= -extldflags -static|-o|out/prog|p/cmd"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestKey: whatever shapes a program must change its key, and nothing else may.
func TestKey(t *testing.T) {
	module := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(module, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module m\n\ngo 1.26\n")
	base := Component{VersionVars: []string{"m.V"}, Programs: []Program{{"m", "m", ""}}}
	key := func(c Component, version string) string {
		t.Helper()
		k, err := c.key(t.Context(), module, version)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key(base, "v1")
	if key(base, "v1") != first {
		t.Error("the same component has two keys")
	}
	tagged := Component{VersionVars: []string{"m.V"}, Programs: []Program{{"m", "m", "tag"}}}
	if key(base, "v2") == first || key(tagged, "v1") == first {
		t.Error("version or tags do not change the key")
	}
	write("main_test.go", "package main")
	if key(base, "v1") != first {
		t.Error("a test changes the key")
	}
	write("go.sum", "x")
	if key(base, "v1") == first {
		t.Error("go.sum does not change the key")
	}
}

// TestBuild checks the programs that the image gets. Without a warm cache it takes minutes.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: building the components takes minutes")
	}
	dirs, err := BuildAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range All() {
		for _, p := range c.Programs {
			checkStatic(t, filepath.Join(dirs[c.Name], p.File))
		}
	}
	for _, v := range []struct{ component, program, want string }{
		{"kubelet", "kubelet", "Kubernetes v1.36.3"},
		{"containerd", "containerd", "containerd github.com/containerd/containerd/v2 v2.4.2"},
		{"runc", "runc", "runc version 1.5.2"},
	} {
		out, err := exec.Command(filepath.Join(dirs[v.component], v.program), "--version").Output()
		if first, _, _ := strings.Cut(string(out), "\n"); err != nil || strings.TrimSpace(first) != v.want {
			t.Errorf("%s --version: %q (%v), want %q", v.program, out, err, v.want)
		}
	}
}

func checkStatic(t *testing.T, path string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has a %v segment", path, p.Type)
		}
	}
	if file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil {
		t.Errorf("%s is not stripped", path)
	}
}
