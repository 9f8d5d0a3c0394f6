package gpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Device is what a table is written to: a block device or an image file.
type Device interface {
	io.WriterAt
	Sync() error
}

// Read reads the table of a disk: the primary copy or, when that is damaged,
// the backup. Where the disk was made larger since the table was written,
// Sectors of the table is less than the disk's.
func Read(r io.ReaderAt, sizeBytes int64, sectorSize int) (*Table, error) {
	if sectorSize < 512 || sizeBytes < 3*int64(sectorSize) {
		return nil, fmt.Errorf("read partition table: disk of %d bytes in sectors of %d bytes is too small", sizeBytes, sectorSize)
	}
	d := disk{r, sectorSize, uint64(sizeBytes) / uint64(sectorSize)}
	var mbr [512]byte
	if err := d.readAt(mbr[:], 0); err != nil {
		return nil, fmt.Errorf("read partition table: protective MBR: %w", err)
	}
	t, primaryErr := d.readCopy(1)
	if primaryErr != nil {
		var backupErr error
		if t, backupErr = d.readBackup(); backupErr != nil {
			return nil, fmt.Errorf("read partition table: primary: %w; backup: %w", primaryErr, backupErr)
		}
		t.fromBackup = true
	}
	t.mbr = mbr
	return t, nil
}

// Write puts the table on the disk. The copy that was not read goes first and
// is flushed before the other one is touched; in each, the entries are flushed
// before the header that points to them. The protective MBR comes last and only
// if it would change.
func (t *Table) Write(w Device) error {
	if err := t.Validate(); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	array := t.encodeEntries()
	backupLBA := t.Sectors - 1
	primary := tableCopy{"primary", array, 2, t.encodeHeader(array, 1, backupLBA, 2), 1}
	backup := tableCopy{"backup", array, t.LastUsableLBA() + 1, t.encodeHeader(array, backupLBA, 1, t.LastUsableLBA()+1), backupLBA}
	order := []tableCopy{backup, primary}
	if t.fromBackup {
		order = []tableCopy{primary, backup}
	}
	for _, c := range order {
		if err := c.write(w, t.SectorSize); err != nil {
			return fmt.Errorf("write partition table: %s: %w", c.name, err)
		}
	}
	t.fromBackup = false
	return t.writeMBR(w)
}

func (t *Table) writeMBR(w Device) error {
	mbr := mbrFor(t.mbr, t.Sectors)
	if mbr == t.mbr {
		return nil
	}
	if _, err := w.WriteAt(mbr[:], 0); err != nil {
		return fmt.Errorf("write partition table: protective MBR: %w", err)
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("write partition table: protective MBR: %w", err)
	}
	t.mbr = mbr
	return nil
}

// tableCopy is one of the two copies of a table as it goes to the disk.
type tableCopy struct {
	name      string
	array     []byte
	arrayLBA  uint64
	header    []byte
	headerLBA uint64
}

func (c tableCopy) write(w Device, sectorSize int) error {
	if _, err := w.WriteAt(c.array, int64(c.arrayLBA)*int64(sectorSize)); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if _, err := w.WriteAt(c.header, int64(c.headerLBA)*int64(sectorSize)); err != nil {
		return err
	}
	return w.Sync()
}

// disk is what a table is read from.
type disk struct {
	r          io.ReaderAt
	sectorSize int
	sectors    uint64
}

// readAt fills b from that LBA on; an end of file right behind b is no error.
func (d disk) readAt(b []byte, lba uint64) error {
	n, err := d.r.ReadAt(b, int64(lba)*int64(d.sectorSize))
	if n == len(b) {
		return nil
	}
	return err
}

// readBackup looks for the backup copy at the end of the disk, or where the
// primary header says, whose own damage does not matter here: the copy found
// there proves itself.
func (d disk) readBackup() (*Table, error) {
	t, err := d.readCopy(d.sectors - 1)
	if err == nil {
		return t, nil
	}
	sector := make([]byte, d.sectorSize)
	if readErr := d.readAt(sector, 1); readErr != nil || !bytes.HasPrefix(sector, signature[:]) {
		return nil, err
	}
	hint := binary.LittleEndian.Uint64(sector[32:])
	if hint <= 1 || hint >= d.sectors-1 {
		return nil, err
	}
	t, hintErr := d.readCopy(hint)
	if hintErr != nil {
		return nil, fmt.Errorf("%w; %w", err, hintErr)
	}
	return t, nil
}

// readCopy reads the copy whose header is at that LBA.
func (d disk) readCopy(lba uint64) (*Table, error) {
	sector := make([]byte, d.sectorSize)
	if err := d.readAt(sector, lba); err != nil {
		return nil, fmt.Errorf("LBA %d: %w", lba, err)
	}
	h, err := decodeHeader(sector)
	if err != nil {
		return nil, fmt.Errorf("LBA %d: %w", lba, err)
	}
	if h.MyLBA != lba {
		return nil, fmt.Errorf("LBA %d: header says that it is at LBA %d", lba, h.MyLBA)
	}
	t := &Table{DiskGUID: h.DiskGUID, SectorSize: d.sectorSize, Sectors: max(h.MyLBA, h.AlternateLBA) + 1}
	if t.Sectors == 0 || t.Sectors > d.sectors {
		return nil, fmt.Errorf("LBA %d: table ends at LBA %d, the disk has %d sectors", lba, t.Sectors-1, d.sectors)
	}
	if t.Entries, err = d.readEntries(h); err != nil {
		return nil, fmt.Errorf("LBA %d: %w", lba, err)
	}
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("LBA %d: %w", lba, err)
	}
	return t, nil
}

func (d disk) readEntries(h rawHeader) ([]Entry, error) {
	if h.EntriesLBA >= d.sectors {
		return nil, fmt.Errorf("entries at LBA %d, the disk has %d sectors", h.EntriesLBA, d.sectors)
	}
	array := make([]byte, arraySize)
	if err := d.readAt(array, h.EntriesLBA); err != nil {
		return nil, fmt.Errorf("entries at LBA %d: %w", h.EntriesLBA, err)
	}
	if sum := crc32.ChecksumIEEE(array); sum != h.EntriesCRC {
		return nil, fmt.Errorf("entries CRC %08x, expected %08x", sum, h.EntriesCRC)
	}
	return decodeEntries(array)
}
