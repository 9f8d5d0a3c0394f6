package dm

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSizes(t *testing.T) {
	if headerSize != 312 || targetSize != 40 {
		t.Fatalf("dm_ioctl is %d bytes and dm_target_spec %d, want 312 and 40", headerSize, targetSize)
	}
}

func TestEncodeDecode(t *testing.T) {
	targets := []Target{{0, 2048, "verity", "1 8:1 8:2 4096"}, {2048, 8, "zero", ""}}
	buf := encode("root", "HOLDFAST-x", unix.DM_READONLY_FLAG, targets)
	h := header(buf)
	if cstring(h.Name[:]) != "root" || cstring(h.Uuid[:]) != "HOLDFAST-x" || int(h.Data_size) != len(buf) {
		t.Fatalf("header %+v", h)
	}
	// A reply counts next from the start of the data, a request from the target.
	first := targetLen(targets[0])
	binary.NativeEndian.PutUint32(buf[headerSize+first+20:], uint32(first+targetLen(targets[1])))
	got, err := decodeTargets(buf)
	if err != nil {
		t.Fatal(err)
	}
	for i := range targets {
		if got[i] != targets[i] {
			t.Errorf("target %d: got %+v, want %+v", i, got[i], targets[i])
		}
	}
}

func FuzzDecodeTargets(f *testing.F) {
	f.Add(encode("a", "", 0, []Target{{0, 8, "zero", "x"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize {
			_, _ = decodeTargets(b)
		}
	})
}
