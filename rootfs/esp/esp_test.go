package esp

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tools skips, or fails in CI, when one is not installed.
func tools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") == "" {
			t.Skipf("%s is not installed", name)
		}
	}
}

func testFiles(t *testing.T) []File {
	t.Helper()
	source := filepath.Join(t.TempDir(), "systemd-boot.efi")
	if err := os.WriteFile(source, bytes.Repeat([]byte("loader"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	// Its time must not matter.
	if err := os.Chtimes(source, time.Time{}, time.Now().Add(-time.Duration(time.Now().UnixNano()%1e15))); err != nil {
		t.Fatal(err)
	}
	return []File{
		{Path: "loader/keys/auto/PK.auth", Data: []byte("PK")},
		{Path: "EFI/Linux/holdfast_0.1.0+3-0.efi", Data: bytes.Repeat([]byte("uki"), 1<<20)},
		{Path: "EFI/BOOT/BOOTX64.EFI", Source: source},
		{Path: "loader/loader.conf", Data: []byte("timeout 0\n")},
		{Path: "loader/empty", Data: []byte{}},
		{Path: "Loader/other", Data: []byte("in the same directory")},
	}
}

func build(t *testing.T, size int64, files []File) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "esp.img")
	if err := Build(t.Context(), file, size, files); err != nil {
		t.Fatal(err)
	}
	return file
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestBuild(t *testing.T) {
	tools(t, "mkfs.vfat", "mcopy", "fsck.vfat")
	for name, size := range map[string]int64{"smallest": MinBytes, "64 MiB": 64 << 20, "512 MiB": 512 << 20} {
		t.Run(name, func(t *testing.T) {
			files := testFiles(t)
			file := build(t, size, files)
			if info, err := os.Stat(file); err != nil || info.Size() != size {
				t.Errorf("%v, %v", info, err)
			}
			if out := output(t, "fsck.vfat", "-n", "-v", file); !strings.Contains(out, "FATs, 32 bit entries") {
				t.Errorf("fsck.vfat:\n%s", out)
			}
			for _, f := range files {
				want := f.Data
				if f.Source != "" {
					var err error
					if want, err = os.ReadFile(f.Source); err != nil {
						t.Fatal(err)
					}
				}
				if got := output(t, "mcopy", "-i", file, "::/"+f.Path, "-"); got != string(want) {
					t.Errorf("%s: read %d bytes, want %d", f.Path, len(got), len(want))
				}
			}
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestReproducible(t *testing.T) {
	tools(t, "mkfs.vfat", "mcopy")
	files := testFiles(t)
	first, err := os.ReadFile(build(t, MinBytes, files))
	if err != nil {
		t.Fatal(err)
	}
	files = testFiles(t) // with other times, in another order
	files[0], files[2] = files[2], files[0]
	second, err := os.ReadFile(build(t, MinBytes, files))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two builds differ")
	}
	// Two builds within two seconds would agree on the time of day, too.
	for _, name := range []string{"EFI        ", "BOOT       ", "BOOTX64 EFI", "PK~1    AUT", "HOLDFA~1EFI"} {
		at := bytes.Index(first, []byte(name))
		if at < 0 {
			t.Errorf("no directory entry %q", name)
			continue
		}
		const newYear = (2026-1980)<<9 | 1<<5 | 1
		word := func(off int) uint16 { return binary.LittleEndian.Uint16(first[at+off:]) }
		created, accessed, written := word(16), word(18), word(24)
		if created != newYear || accessed != newYear || written != newYear || word(14) != 0 || word(22) != 0 || first[at+13] != 0 {
			t.Errorf("%q: times % x, want those of 2026-01-01", name, first[at+13:at+26])
		}
	}
}

func TestBuildErrors(t *testing.T) {
	tools(t, "mkfs.vfat", "mcopy")
	one := func(f File) []File { return []File{f} }
	tests := []struct {
		name  string
		size  int64
		files []File
		want  string
	}{
		{"small", 1 << 20, nil, "build ESP: size of 1048576 bytes, expected at least 35651584 and a multiple of 512"},
		{"odd size", MinBytes + 1, nil, "build ESP: size of 35651585 bytes"},
		{"no path", MinBytes, one(File{}), `build ESP: path "", expected one relative to the root`},
		{"absolute path", MinBytes, one(File{Path: "/EFI"}), `build ESP: path "/EFI", expected`},
		{"path upwards", MinBytes, one(File{Path: "../EFI"}), `build ESP: path "../EFI", expected`},
		{"path of the root", MinBytes, one(File{Path: "."}), `build ESP: path ".", expected`},
		{"path of the root's parent", MinBytes, one(File{Path: ".."}), `build ESP: path "..", expected`},
		{"path not clean", MinBytes, one(File{Path: "EFI//a"}), `build ESP: path "EFI//a", expected`},
		{"forbidden character", MinBytes, one(File{Path: "a:b"}), `build ESP: path "a:b": FAT has no`},
		{"twice", MinBytes, []File{{Path: "efi/a"}, {Path: "EFI/A"}}, "build ESP: efi/a: there is another of that name"},
		{"file and directory", MinBytes, []File{{Path: "EFI"}, {Path: "efi/a"}}, "build ESP: EFI: there is another of that name"},
		{"data and source", MinBytes, one(File{Path: "a", Data: []byte{1}, Source: "b"}), "build ESP: a: has both data and a source"},
		{"no source", MinBytes, one(File{Path: "a", Source: "/does/not/exist"}), "build ESP: copy a: mcopy: exit status 1: "},
		{"too much", MinBytes, one(File{Path: "a", Data: make([]byte, MinBytes)}), "build ESP: copy a: mcopy: exit status 1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "esp.img")
			if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Build(t.Context(), file, tt.size, tt.files)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %v", err)
			}
			if old, err := os.ReadFile(file); err != nil || string(old) != "old" {
				t.Errorf("the old image is gone (%v)", err)
			}
		})
	}
}
