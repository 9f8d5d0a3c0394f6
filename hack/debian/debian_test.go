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

func TestFetchNamesWhatIsMissing(t *testing.T) {
	_, err := Fetch(t.Context(), "trixie", []string{"no-such-package"})
	if err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Errorf("Fetch of an unknown package: %v", err)
	}
}

func TestSource(t *testing.T) {
	root := t.TempDir()
	t.Setenv("HOLDFAST_CACHE", root)
	const version = "1.21"
	wrong := strings.Repeat("0", 64)
	if _, err := Source(t.Context(), "trixie", "sl", version, wrong); err == nil {
		t.Error("Source accepted a wrong digest")
	}
	if left, _ := filepath.Glob(filepath.Join(root, "source", "*[^k]")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	_ = cache.Key
}
