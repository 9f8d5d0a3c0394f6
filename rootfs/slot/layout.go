package slot

import (
	"fmt"

	"holdfast/rootfs/gpt"
)

const mib = 1 << 20

// Numbers of the partitions that belong to no slot.
const (
	ESPNumber   = 1
	StateNumber = 6
)

// StateLabel is the label of the state partition.
const StateLabel = "state"

// Partition is one row of the disk's layout.
type Partition struct {
	Number    int
	Label     string
	Type      gpt.GUID
	SizeBytes int64 // 0: the rest of the disk
}

// Layout is the disk of a node, in the order on the disk, with both slots empty.
func Layout() []Partition {
	return []Partition{
		{ESPNumber, "ESP", gpt.TypeESP, 512 * mib},
		{A.RootNumber(), EmptyLabel, gpt.TypeRoot, 1024 * mib},
		{A.VerityNumber(), EmptyLabel, gpt.TypeRootVerity, 16 * mib},
		{B.RootNumber(), EmptyLabel, gpt.TypeRoot, 1024 * mib},
		{B.VerityNumber(), EmptyLabel, gpt.TypeRootVerity, 16 * mib},
		{StateNumber, StateLabel, gpt.TypeLinux, 0},
	}
}

// MinStateBytes is the smallest state partition on a new disk. It need not hold
// anything: the first boot makes it larger.
const MinStateBytes = 16 * mib

// NewTable lays the partitions out on a new disk, from 1 MiB on.
func NewTable(sectorSize int, sizeBytes int64) (*gpt.Table, error) {
	layout := Layout()
	least := 2*int64(mib) + MinStateBytes // room for both copies of the table
	for _, p := range layout {
		least += p.SizeBytes
	}
	if sizeBytes < least {
		return nil, fmt.Errorf("lay out disk: %d bytes, expected at least %d", sizeBytes, least)
	}
	t := &gpt.Table{DiskGUID: DefaultUUID(0), SectorSize: sectorSize, Sectors: uint64(sizeBytes) / uint64(sectorSize)}
	next := uint64(mib / sectorSize)
	for _, p := range layout {
		size := uint64(max(p.SizeBytes, mib)) / uint64(sectorSize)
		t.Entries = append(t.Entries, gpt.Entry{
			Number: p.Number, Type: p.Type, UUID: DefaultUUID(p.Number), FirstLBA: next, LastLBA: next + size - 1, Name: p.Label,
		})
		next += size
	}
	if err := t.Extend(StateNumber); err != nil {
		return nil, fmt.Errorf("lay out disk: %w", err)
	}
	return t, nil
}

// DefaultUUID is the UUID of a partition while its content determines none,
// or, for number 0, of the disk. It is "holdfast" in ASCII and the number.
func DefaultUUID(number int) gpt.GUID {
	text := [16]byte([]byte("holdfast\x80\x00\x00\x00\x00\x00\x00\x00"))
	text[15] = byte(number)
	return gpt.GUIDFromText(text)
}
