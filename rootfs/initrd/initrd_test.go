package initrd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCpioReadsIt takes zstd and cpio as oracles.
func TestCpioReadsIt(t *testing.T) {
	want := bytes.Repeat([]byte("holdfast"), 10001)
	archive, err := Build(want)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "zstd -dc | cpio -id --quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("init is %d bytes, %v, want %d", len(got), err, len(want))
	}
	if st, err := os.Stat(filepath.Join(dir, "init")); err != nil || st.Mode() != 0o755 {
		t.Errorf("%v, %v", st, err)
	}
	again, err := Build(want)
	if err != nil || !bytes.Equal(archive, again) {
		t.Error("two builds differ")
	}
}
