package debian

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/hack/cache"
)

func TestPickMirror(t *testing.T) {
	tests := []struct{ name, targets, want string }{
		{"labelled", "http://a/debian-security/|Debian-Security|x-security\nhttp://m/any/|Debian|x\n", "http://m/any/"},
		{"security only by release", "http://a/all/|Debian|x-security\nhttp://m/d/|Debian|x\n", "http://m/d/"},
		{"lists not fetched yet", "http://o/other/||x\nhttp://m/debian/||x\n", "http://m/debian/"},
		{"others only", "http://o/other/|Other|x\n", ""},
		{"none", "", ""},
	}
	for _, tt := range tests {
		got, err := pickMirror(tt.targets)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: pickMirror = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestMissing(t *testing.T) {
	got, err := Missing(t.Context(), []string{"no-such-package-b", "dpkg", "no-such-package-a", "no-such-package-b"})
	if want := []string{"no-such-package-a", "no-such-package-b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Missing = %q, %v; want %q", got, err, want)
	}
	if err := Ensure(t.Context(), []string{"dpkg", "apt"}); err != nil {
		t.Errorf("Ensure of installed packages: %v", err)
	}
}

// TestFetch needs the network once; the cache answers after that.
func TestFetch(t *testing.T) {
	names := []string{"erofs-utils", "libc6", "libzstd1", "liblz4-1", "liblzma5", "zlib1g", "libuuid1", "libselinux1",
		"libpcre2-8-0", "libdeflate0", "libfuse2t64", "libgcc-s1", "libxxhash0"}
	tree, err := Fetch(t.Context(), "trixie", names)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) != len(names) {
		t.Errorf("got %d packages, want %d", len(tree.Packages), len(names))
	}
	for _, p := range tree.Packages {
		if !slices.Contains(names, p.Name) || p.Version == "" || p.Source == "" || len(p.SHA256) != 64 {
			t.Errorf("incomplete package %+v", p)
		}
		for _, f := range p.Files {
			if _, err := os.Lstat(filepath.Join(tree.Root, f)); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	}
	out, err := tree.Command(t.Context(), "mkfs.erofs", "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1.8") {
		t.Errorf("mkfs.erofs --version: %v: %s", err, out)
	}
	if err := tree.Command(t.Context(), "no-such-program").Run(); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("missing program: %v", err)
	}
	t.Setenv("PATH", "") // no apt, no dpkg: only the cache can answer
	slices.Reverse(names)
	if again, err := Fetch(t.Context(), "trixie", names); err != nil || again.Root != tree.Root {
		t.Errorf("second Fetch: %v", err)
	}
}

// TestSource needs the network once; the cache answers after that.
func TestSource(t *testing.T) {
	const pinned = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b"
	tarball, err := Source(t.Context(), "trixie", "hello", "2.10-5", pinned)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := cache.FileKey(tarball); err != nil || sum != pinned {
		t.Errorf("digest of %s: %s, %v", tarball, sum, err)
	}
	t.Setenv("PATH", "")
	if again, err := Source(t.Context(), "trixie", "hello", "2.10-5", pinned); err != nil || again != tarball {
		t.Errorf("second Source: %q, %v", again, err)
	}
}

func TestKeepPinned(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // of "abc"
	for name, content := range map[string]string{"x_1.orig.tar.xz": "abc", "x_1.orig.tar.gz": "other", "x_1.dsc": "abc"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := keepPinned(from, to, strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), digest) {
		t.Errorf("wrong digest: %v; want an error that says what came", err)
	}
	if err := keepPinned(from, to, digest); err != nil {
		t.Error(err)
	}
	if got, _ := filepath.Glob(filepath.Join(to, "*")); len(got) != 1 || filepath.Base(got[0]) != "x_1.orig.tar.xz" {
		t.Errorf("kept %q, want the tarball with the digest", got)
	}
}
