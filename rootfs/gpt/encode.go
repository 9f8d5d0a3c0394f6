package gpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unicode/utf16"
)

// rawHeader and rawEntry are the structures on disk, see the package comment.
type rawHeader struct {
	Signature       [8]byte
	Revision        uint32
	HeaderSize      uint32
	HeaderCRC       uint32
	Reserved        uint32
	MyLBA           uint64
	AlternateLBA    uint64
	FirstUsableLBA  uint64
	LastUsableLBA   uint64
	DiskGUID        GUID
	EntriesLBA      uint64
	NumberOfEntries uint32
	SizeOfEntry     uint32
	EntriesCRC      uint32
}

type rawEntry struct {
	Type, UUID        GUID
	FirstLBA, LastLBA uint64
	Attributes        uint64
	Name              [nameUnits]uint16
}

const (
	headerSize = 92
	entrySize  = 128
	arraySize  = MaxEntries * entrySize
	nameUnits  = 36
	revision   = 0x00010000
)

var signature = [8]byte([]byte("EFI PART"))

// encode gives the sector of the header at LBA my, whose other copy is at
// other and whose entries are at entriesLBA.
func (t *Table) encodeHeader(array []byte, my, other, entriesLBA uint64) []byte {
	h := rawHeader{
		Signature: signature, Revision: revision, HeaderSize: headerSize,
		MyLBA: my, AlternateLBA: other,
		FirstUsableLBA: t.FirstUsableLBA(), LastUsableLBA: t.LastUsableLBA(),
		DiskGUID: t.DiskGUID, EntriesLBA: entriesLBA,
		NumberOfEntries: MaxEntries, SizeOfEntry: entrySize, EntriesCRC: crc32.ChecksumIEEE(array),
	}
	sector := make([]byte, t.SectorSize)
	put(sector, h)
	h.HeaderCRC = crc32.ChecksumIEEE(sector[:headerSize])
	put(sector, h)
	return sector
}

// decodeHeader checks everything about a header that it says by itself.
func decodeHeader(sector []byte) (rawHeader, error) {
	var h rawHeader
	if err := get(sector, &h); err != nil {
		return h, err
	}
	zeroed := bytes.Clone(sector[:headerSize])
	clear(zeroed[16:20])
	switch sum := crc32.ChecksumIEEE(zeroed); {
	case h.Signature != signature:
		return h, fmt.Errorf("no signature %q", signature[:])
	case h.HeaderSize != headerSize:
		return h, fmt.Errorf("header size %d, expected %d", h.HeaderSize, headerSize)
	case h.HeaderCRC != sum:
		return h, fmt.Errorf("header CRC %08x, expected %08x", h.HeaderCRC, sum)
	case h.Revision != revision:
		return h, fmt.Errorf("revision %08x, expected %08x", h.Revision, revision)
	case h.NumberOfEntries != MaxEntries || h.SizeOfEntry != entrySize:
		return h, fmt.Errorf("%d entries of %d bytes, expected %d of %d", h.NumberOfEntries, h.SizeOfEntry, MaxEntries, entrySize)
	}
	return h, nil
}

func (t *Table) encodeEntries() []byte {
	array := make([]byte, arraySize)
	for _, e := range t.Entries {
		name, _ := encodeName(e.Name) // checked by Validate
		put(array[(e.Number-1)*entrySize:], rawEntry{e.Type, e.UUID, e.FirstLBA, e.LastLBA, e.Attributes, name})
	}
	return array
}

func decodeEntries(array []byte) ([]Entry, error) {
	var entries []Entry
	for i := range MaxEntries {
		var raw rawEntry
		if err := get(array[i*entrySize:], &raw); err != nil {
			return nil, err
		}
		if raw.Type != (GUID{}) {
			entries = append(entries, Entry{i + 1, raw.Type, raw.UUID, raw.FirstLBA, raw.LastLBA, raw.Attributes, decodeName(raw.Name)})
		}
	}
	return entries, nil
}

func encodeName(name string) (raw [nameUnits]uint16, err error) {
	units := utf16.Encode([]rune(name))
	if len(units) > nameUnits {
		return raw, fmt.Errorf("name %q has %d UTF-16 units, at most %d fit", name, len(units), nameUnits)
	}
	for _, u := range units {
		if u == 0 {
			return raw, fmt.Errorf("name %q has a NUL", name)
		}
	}
	copy(raw[:], units)
	return raw, nil
}

func decodeName(raw [nameUnits]uint16) string {
	n := 0
	for n < nameUnits && raw[n] != 0 {
		n++
	}
	return string(utf16.Decode(raw[:n]))
}

// mbrFor is the protective MBR for a disk of that many sectors, with the boot
// code of the one that was there.
func mbrFor(old [512]byte, sectors uint64) [512]byte {
	mbr := old
	clear(mbr[446:])
	// Not bootable, CHS 0/0/2 to "too large", type, first LBA, sectors.
	copy(mbr[446:], []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0})
	binary.LittleEndian.PutUint32(mbr[458:], uint32(min(sectors-1, 0xffffffff)))
	mbr[510], mbr[511] = 0x55, 0xaa
	return mbr
}

// put and get move a structure of fixed size.
func put(b []byte, v any) {
	if _, err := binary.Encode(b, binary.LittleEndian, v); err != nil {
		panic(err) // the buffer is too small: a programmer's error
	}
}

func get(b []byte, v any) error {
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}
