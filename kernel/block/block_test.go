package block

import (
	"testing"
	"unsafe"
)

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(blkpgPartition{}); n != 152 {
		t.Errorf("blkpg_partition is %d bytes, want 152", n)
	}
	if n := unsafe.Sizeof(blkpgArg{}); n != 24 {
		t.Errorf("blkpg_ioctl_arg is %d bytes, want 24", n)
	}
}

func TestDisks(t *testing.T) {
	disks, err := Disks()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if d.SizeBytes <= 0 || d.SectorSize < 512 {
			t.Errorf("%+v", d)
		}
	}
}
