package boot

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/rootfs/gpt"
	"holdfast/rootfs/image"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/uki"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// disk is a raw disk image that a test may change.
type disk struct {
	path  string
	table *gpt.Table
}

// copyDisk makes a private copy of the release's disk.
func copyDisk(t *testing.T, rel *release.Release) *disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := qemu.CopyImage(t.Context(), path, rel.Disk(), 0); err != nil {
		t.Fatal(err)
	}
	return openDisk(t, path)
}

// flatten turns a machine's disk, when it has ended, into a raw image.
func flatten(t *testing.T, image string) *disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flat.raw")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", image, path).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	return openDisk(t, path)
}

func openDisk(t *testing.T, path string) *disk {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(f, st.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{path, table}
}

func (d *disk) partition(t *testing.T, name string) (offset, size int64) {
	t.Helper()
	e := d.table.ByName(name)
	if e == nil {
		t.Fatalf("no partition %q", name)
	}
	return int64(e.FirstLBA) * 512, int64(e.Sectors()) * 512
}

// change reads n bytes of a partition, lets edit change them, and writes them back.
func (d *disk) change(t *testing.T, name string, at int64, n int, edit func([]byte)) {
	t.Helper()
	offset, size := d.partition(t, name)
	if at+int64(n) > size {
		t.Fatalf("partition %s has %d bytes, no byte %d", name, size, at)
	}
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset+at); err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(b)
	edit(b)
	if bytes.Equal(before, b) {
		t.Fatal("the edit changed nothing")
	}
	if _, err := f.WriteAt(b, offset+at); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a partition.
func (d *disk) flip(t *testing.T, name string, at int64) {
	t.Helper()
	d.change(t, name, at, 1, func(b []byte) { b[0] ^= 0x10 })
}

// retable changes the partition table.
func (d *disk) retable(t *testing.T, edit func(*gpt.Table)) {
	t.Helper()
	edit(d.table)
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.table.Write(f); err != nil {
		t.Fatal(err)
	}
}

// extract copies a partition into a file of its own.
func (d *disk) extract(t *testing.T, name string) string {
	t.Helper()
	offset, size := d.partition(t, name)
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("dd", "if="+d.path, "of="+path, "bs=1M", "conv=sparse", "status=none",
		"iflag=skip_bytes,count_bytes", "skip="+itoa(offset), "count="+itoa(size)).CombinedOutput()
	if err != nil {
		t.Fatalf("dd: %v: %s", err, out)
	}
	return path
}

// insert writes a file over the start of a partition.
func (d *disk) insert(t *testing.T, name, file string) {
	t.Helper()
	offset, _ := d.partition(t, name)
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(io.NewOffsetWriter(out, offset), in); err != nil {
		t.Fatal(err)
	}
}

// replaceUKI puts another unified kernel image in the place of the release's.
func (d *disk) replaceUKI(t *testing.T, rel *release.Release, pe []byte) {
	t.Helper()
	offset, _ := d.partition(t, "ESP")
	file := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(file, pe, 0o644); err != nil {
		t.Fatal(err)
	}
	to := "::/" + slot.EntryDir + "/" + slot.Entry{Version: rel.Version}.FileName()
	if out, err := exec.Command("mcopy", "-o", "-i", d.path+"@@"+itoa(offset), file, to).CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v: %s", err, out)
	}
}

// recmdline makes the release's UKI anew with a changed command line of the
// same length, signed by a key; its PCR 11 by the release's policy key.
func recmdline(t *testing.T, rel *release.Release, edit func(string) string, by keys.Pair) []byte {
	t.Helper()
	pe, err := os.ReadFile(rel.UnsignedUKI())
	if err != nil {
		t.Fatal(err)
	}
	sections, err := uki.Sections(bytes.NewReader(pe))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		if s.Name != ".cmdline" {
			continue
		}
		line := []byte(edit(string(s.Data)))
		if len(line) != len(s.Data) || bytes.Count(pe, s.Data) != 1 {
			t.Fatal("the command line can't be replaced in place")
		}
		pe = bytes.Replace(pe, s.Data, line, 1)
	}
	signed, err := image.Signer{Key: by.Signer, Cert: by.Cert, Policy: rel.Keys.Policy}.SignUKI(pe)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// foreign is a signing key that no firmware here knows.
func foreign(t *testing.T) keys.Pair {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := keys.Make(dir); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k.DB
}
