package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := New()
	if err := tr.Add(
		File{Path: "/usr/bin/x", Source: src, Mode: 0o755},
		File{Path: "/bin", Link: "usr/bin"},
		File{Path: "/var", Dir: true, Mode: 0o750},
		File{Path: "/etc/empty", Mode: 0o444},
	); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tr.Write(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "bin/x")); err != nil || string(b) != "program" {
		t.Errorf("%q, %v", b, err)
	}
	for path, mode := range map[string]os.FileMode{"usr/bin/x": 0o755, "var": 0o750 | os.ModeDir, "etc/empty": 0o444} {
		if st, err := os.Stat(filepath.Join(dir, path)); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", path, st, err, mode)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	for _, path := range []string{"relative", "/a/../b", "/a/"} {
		if err := New().Add(File{Path: path}); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
	if err := New().Add(File{Path: "/a"}, File{Path: "/a"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same path twice: %v", err)
	}
}

func TestAddLibraries(t *testing.T) {
	tr := New()
	if err := tr.Add(File{Path: "/usr/bin/ls", Source: "/bin/ls", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := tr.AddLibraries("/"); err != nil {
		t.Fatal(err)
	}
	if _, ok := tr.files["/usr/lib/x86_64-linux-gnu/libc.so.6"]; !ok {
		t.Error("libc is missing")
	}
	err := tr.AddLibraries(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "needs lib") {
		t.Errorf("a missing library: %v", err)
	}
}

func TestBaseHasNoDuplicates(t *testing.T) {
	if err := New().Add(Base("1.0")...); err != nil {
		t.Error(err)
	}
}
