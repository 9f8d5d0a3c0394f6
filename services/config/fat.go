package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// fat reads a file of the root directory of a FAT file system (Microsoft's
// "FAT32 File System Specification").
//
//	offset  size  field of the boot sector
//	11      2     bytes in a sector
//	13      1     sectors in a cluster
//	14      2     sectors before the first table
//	16      1     number of tables
//	17      2     entries of the root directory; 0: FAT32
//	19, 32  2, 4  sectors of the file system
//	22, 36  2, 4  sectors of a table
//	44      4     FAT32: first cluster of the root directory
type fat struct {
	disk    io.ReaderAt
	cluster int64 // bytes
	table   int64 // offset
	root    int64 // offset of the root directory; FAT12 and FAT16 only
	entries int64 // of it
	data    int64 // offset of cluster 2
	first   uint32
	count   uint32 // of clusters
	bits    uint   // of an entry in the table
}

var errNoFile = errors.New("disk has no such file")

// readFAT reads at most limit bytes of a file.
func readFAT(disk io.ReaderAt, name string, limit int64) ([]byte, error) {
	f, err := openFAT(disk)
	if err != nil {
		return nil, err
	}
	dir, err := f.rootDirectory()
	if err != nil {
		return nil, fmt.Errorf("read root directory: %w", err)
	}
	entry, err := findFAT(dir, name)
	if err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(entry[28:]))
	first := uint32(binary.LittleEndian.Uint16(entry[20:]))<<16 | uint32(binary.LittleEndian.Uint16(entry[26:]))
	return f.chain(first, min(size, limit), true)
}

func openFAT(disk io.ReaderAt) (*fat, error) {
	b := make([]byte, 512)
	if _, err := disk.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, cluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, entries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	total, perTable := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	if perTable == 0 {
		perTable = int64(le.Uint32(b[36:]))
	}
	if sector < 512 || sector > 4096 || cluster == 0 {
		return nil, fmt.Errorf("boot sector: %d bytes in a sector, %d sectors in a cluster", sector, cluster)
	}
	root := reserved + tables*perTable
	data := root + (entries*32+sector-1)/sector
	count := (total - data) / cluster
	if count < 1 {
		return nil, fmt.Errorf("boot sector: %d sectors, data from sector %d", total, data)
	}
	f := &fat{
		disk: disk, cluster: cluster * sector, table: reserved * sector, root: root * sector, entries: entries,
		data: data * sector, first: le.Uint32(b[44:]), count: uint32(count), bits: 32,
	}
	if count < 4085 { // the specification's own numbers
		f.bits = 12
	} else if count < 65525 {
		f.bits = 16
	}
	return f, nil
}

// maxDirectory is how much of a directory is read, in bytes.
const maxDirectory = 1 << 20

func (f *fat) rootDirectory() ([]byte, error) {
	if f.bits == 32 {
		return f.chain(f.first, maxDirectory, false)
	}
	dir := make([]byte, f.entries*32)
	_, err := f.disk.ReadAt(dir, f.root)
	return dir, err
}

// chain reads size bytes of the clusters from first on; a chain that ends
// early is an error in a file, and usual in a directory.
func (f *fat) chain(first uint32, size int64, whole bool) ([]byte, error) {
	var out []byte
	for n := first; int64(len(out)) < size; {
		if n < 2 || n-2 >= f.count {
			if whole {
				return nil, fmt.Errorf("the file ends after %d of %d bytes", len(out), size)
			}
			return out, nil
		}
		part := make([]byte, min(f.cluster, size-int64(len(out))))
		if _, err := f.disk.ReadAt(part, f.data+int64(n-2)*f.cluster); err != nil {
			return nil, err
		}
		out = append(out, part...)
		var err error
		if n, err = f.next(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// next reads a cluster's entry in the table; 12-bit entries share bytes.
func (f *fat) next(n uint32) (uint32, error) {
	var b [4]byte
	width := int64(f.bits+7) / 8
	if _, err := f.disk.ReadAt(b[:width], f.table+int64(n)*int64(f.bits)/8); err != nil {
		return 0, fmt.Errorf("read table: %w", err)
	}
	v := binary.LittleEndian.Uint32(b[:])
	switch {
	case f.bits == 12 && n%2 == 1:
		return v >> 4, nil
	case f.bits == 12:
		return v & 0xfff, nil
	}
	return v & 0x0fffffff, nil
}

// Attributes of a directory entry.
const (
	fatVolume    = 0x08
	fatDirectory = 0x10
	fatLongName  = 0x0f
	fatDeleted   = 0xe5
)

// findFAT finds a file by its long name, which stands in entries before its
// own, last part first.
func findFAT(dir []byte, name string) ([]byte, error) {
	long := ""
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		e := dir[:32]
		switch {
		case e[0] == fatDeleted:
			long = ""
		case e[11] == fatLongName:
			if e[0]&0x40 != 0 { // the last part
				long = ""
			}
			long = longName(e) + long
		case e[11]&fatVolume == 0 && strings.EqualFold(long, name):
			if e[11]&fatDirectory != 0 {
				return nil, fmt.Errorf("%s is a directory, expected a file", name)
			}
			return e, nil
		default:
			long = ""
		}
	}
	return nil, errNoFile
}

// longName is the part of a name in one entry: 13 UTF-16 characters.
func longName(e []byte) string {
	var units []uint16
	for _, part := range [][]byte{e[1:11], e[14:26], e[28:32]} {
		for ; len(part) > 0; part = part[2:] {
			u := binary.LittleEndian.Uint16(part)
			if u == 0 || u == 0xffff {
				return string(utf16.Decode(units))
			}
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}
