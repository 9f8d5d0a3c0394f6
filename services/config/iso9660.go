package config

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// An ISO 9660 file system (ECMA-119) has volume descriptors from sector 16 on:
// its own, and where there is one that of Joliet with Unicode names. At 156
// stands the directory record of the root.
//
//	offset  size  field of a directory record
//	0       1     length; 0: the next one is in the next sector
//	2       4     first sector
//	10      4     size in bytes
//	25      1     flags: 2 directory, 0x80 the file goes on in the next record
//	32      1     length of the name
//	33            name, then at an even offset what Rock Ridge adds (IEEE P1282)
const (
	isoSector      = 2048
	isoDescriptors = 16
	isoPrimary     = 1
	isoJoliet      = 2
	isoLast        = 255
	isoRoot        = 156
	isoHeader      = 33
	isoDirectory   = 0x02
	isoGoesOn      = 0x80
)

// readISO reads at most limit bytes of a file of the root directory.
func readISO(disk io.ReaderAt, name string, limit int64) ([]byte, error) {
	for n := int64(isoDescriptors); n < isoDescriptors+16; n++ {
		b := make([]byte, isoSector)
		if _, err := disk.ReadAt(b, n*isoSector); err != nil {
			return nil, fmt.Errorf("read volume descriptor: %w", err)
		}
		if string(b[1:6]) != "CD001" || b[0] == isoLast {
			break
		}
		if b[0] != isoPrimary && b[0] != isoJoliet {
			continue
		}
		record, err := findISO(disk, record(b[isoRoot:]), name, b[0] == isoJoliet)
		if err != nil {
			return nil, err
		}
		if record != nil {
			return record.read(disk, limit)
		}
	}
	return nil, errNoFile
}

type record []byte

func (r record) size() int64 { return int64(binary.LittleEndian.Uint32(r[10:])) }

func (r record) read(disk io.ReaderAt, limit int64) ([]byte, error) {
	if r[25]&(isoDirectory|isoGoesOn) != 0 {
		return nil, fmt.Errorf("flags %#x, expected a file in one piece", r[25])
	}
	return r.extent(disk, limit)
}

func (r record) extent(disk io.ReaderAt, limit int64) ([]byte, error) {
	b := make([]byte, min(r.size(), limit))
	if _, err := disk.ReadAt(b, int64(binary.LittleEndian.Uint32(r[2:]))*isoSector); err != nil {
		return nil, err
	}
	return b, nil
}

// findISO finds a directory's record by its name; nil: there is none.
func findISO(disk io.ReaderAt, dir record, name string, joliet bool) (record, error) {
	b, err := dir.extent(disk, maxDirectory)
	if err != nil {
		return nil, fmt.Errorf("read root directory: %w", err)
	}
	for at := 0; at+isoHeader < len(b); {
		length := int(b[at])
		if length == 0 {
			at = (at/isoSector + 1) * isoSector
			continue
		}
		if length <= isoHeader || at+length > len(b) || isoHeader+int(b[at+32]) > length {
			return nil, fmt.Errorf("read root directory: record at %d has %d bytes", at, length)
		}
		r := record(b[at : at+length])
		if r.isNamed(name, joliet) {
			return r, nil
		}
		at += length
	}
	return nil, nil
}

func (r record) isNamed(name string, joliet bool) bool {
	own := r[isoHeader : isoHeader+int(r[32])]
	if joliet {
		units := make([]uint16, len(own)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(own[2*i:])
		}
		own = []byte(string(utf16.Decode(units)))
	}
	plain, _, _ := bytes.Cut(own, []byte(";")) // the version
	return strings.EqualFold(strings.TrimSuffix(string(plain), "."), name) || r.rockRidge() == name
}

// rockRidge is the name of the entry NM: two letters, length, version, flags,
// name.
func (r record) rockRidge() string {
	at := isoHeader + int(r[32])
	for rest := r[min(at+at%2, len(r)):]; len(rest) > 4 && int(rest[2]) > 4 && int(rest[2]) <= len(rest); rest = rest[rest[2]:] {
		if string(rest[:2]) == "NM" {
			return string(rest[5:rest[2]])
		}
	}
	return ""
}
