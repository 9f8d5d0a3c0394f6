package gpt

import (
	"cmp"
	"fmt"
	"slices"
)

// AttrFormatted on the state partition says that its file system was completed
// at the first boot. Bits 48 to 63 belong to the partition type's owner.
const AttrFormatted uint64 = 1 << 48

// MaxEntries is the number of partitions that a table has room for.
const MaxEntries = 128

// alignBytes is what partitions are aligned to.
const alignBytes = 1 << 20

// Table is a partition table. Make one with its exported fields set for a
// fresh disk, or Read it; only a table that was read knows which of its copies
// was damaged and has to be written first.
type Table struct {
	DiskGUID   GUID
	SectorSize int    // bytes
	Sectors    uint64 // size of the disk that the table was written for
	Entries    []Entry

	fromBackup bool      // the primary copy is damaged
	mbr        [512]byte // as read, zero on a fresh disk
}

// Entry is one partition.
type Entry struct {
	Number            int // from 1
	Type, UUID        GUID
	FirstLBA, LastLBA uint64 // both inclusive
	Attributes        uint64
	Name              string // at most 36 UTF-16 units
}

// Sectors is the partition's size.
func (e Entry) Sectors() uint64 { return e.LastLBA - e.FirstLBA + 1 }

// ByUUID returns the partition with that unique GUID, for reading or changing,
// or nil.
func (t *Table) ByUUID(uuid GUID) *Entry {
	return t.find(func(e Entry) bool { return e.UUID == uuid })
}

// ByName returns the first partition with that name, or nil.
func (t *Table) ByName(name string) *Entry {
	return t.find(func(e Entry) bool { return e.Name == name })
}

// ByNumber returns the partition with that number, or nil.
func (t *Table) ByNumber(number int) *Entry {
	return t.find(func(e Entry) bool { return e.Number == number })
}

func (t *Table) find(match func(Entry) bool) *Entry {
	if i := slices.IndexFunc(t.Entries, match); i >= 0 {
		return &t.Entries[i]
	}
	return nil
}

// FirstUsableLBA is the first sector behind the primary copy.
func (t *Table) FirstUsableLBA() uint64 { return 2 + t.arraySectors() }

// LastUsableLBA is the last sector before the backup copy.
func (t *Table) LastUsableLBA() uint64 { return t.Sectors - 2 - t.arraySectors() }

func (t *Table) arraySectors() uint64 { return arraySize / uint64(t.SectorSize) }

// Grow makes the table one for a disk of that many sectors; its backup copy
// moves to the new end with the next Write.
func (t *Table) Grow(sectors uint64) error {
	if sectors < t.Sectors {
		return fmt.Errorf("grow partition table: disk has %d sectors, less than the %d of the table", sectors, t.Sectors)
	}
	t.Sectors = sectors
	return nil
}

// Extend makes the last partition of the disk end where the last whole MiB
// before the backup copy ends. It never shrinks it.
func (t *Table) Extend(number int) error {
	e := t.ByNumber(number)
	if e == nil {
		return fmt.Errorf("extend partition %d: no such partition", number)
	}
	last := slices.MaxFunc(t.Entries, func(a, b Entry) int { return cmp.Compare(a.LastLBA, b.LastLBA) })
	if last.Number != number {
		return fmt.Errorf("extend partition %d: partition %d lies behind it", number, last.Number)
	}
	align := uint64(alignBytes / t.SectorSize)
	e.LastLBA = max(e.LastLBA, (t.LastUsableLBA()+1)/align*align-1)
	return nil
}

// Validate reports the first thing that makes the table unfit to be written.
func (t *Table) Validate() error {
	switch t.SectorSize {
	case 512, 1024, 2048, 4096:
	default:
		return fmt.Errorf("sector size %d, expected 512, 1024, 2048 or 4096", t.SectorSize)
	}
	if least := 2*(2+t.arraySectors()) + 1; t.Sectors < least || t.Sectors > 1<<63/uint64(t.SectorSize) {
		return fmt.Errorf("disk of %d sectors, expected at least %d and less than 2^63 bytes", t.Sectors, least)
	}
	uuids := map[GUID]int{}
	numbers := map[int]bool{}
	for _, e := range t.Entries {
		if err := t.validateEntry(e); err != nil {
			return fmt.Errorf("partition %d: %w", e.Number, err)
		}
		if numbers[e.Number] {
			return fmt.Errorf("partition %d: number used twice", e.Number)
		}
		if other, twice := uuids[e.UUID]; twice {
			return fmt.Errorf("partition %d: same UUID %s as partition %d", e.Number, e.UUID, other)
		}
		numbers[e.Number], uuids[e.UUID] = true, e.Number
	}
	return t.validateOverlap()
}

func (t *Table) validateEntry(e Entry) error {
	switch {
	case e.Number < 1 || e.Number > MaxEntries:
		return fmt.Errorf("expected a number from 1 to %d", MaxEntries)
	case e.Type == GUID{}:
		return fmt.Errorf("no type")
	case e.UUID == GUID{}:
		return fmt.Errorf("no UUID")
	case e.FirstLBA > e.LastLBA:
		return fmt.Errorf("starts at LBA %d, behind its end %d", e.FirstLBA, e.LastLBA)
	case e.FirstLBA < t.FirstUsableLBA() || e.LastLBA > t.LastUsableLBA():
		return fmt.Errorf("LBA %d to %d is not within the usable %d to %d",
			e.FirstLBA, e.LastLBA, t.FirstUsableLBA(), t.LastUsableLBA())
	}
	_, err := encodeName(e.Name)
	return err
}

func (t *Table) validateOverlap() error {
	byStart := slices.SortedFunc(slices.Values(t.Entries), func(a, b Entry) int { return cmp.Compare(a.FirstLBA, b.FirstLBA) })
	for i := 1; i < len(byStart); i++ {
		if a, b := byStart[i-1], byStart[i]; b.FirstLBA <= a.LastLBA {
			return fmt.Errorf("partition %d: overlaps partition %d at LBA %d", b.Number, a.Number, b.FirstLBA)
		}
	}
	return nil
}
