package config

import (
	"io"
	"strings"
)

// superblocks say where a file system writes its type and its label. FAT:
// Microsoft's "FAT32 File System Specification", boot sector; iso9660:
// ECMA-119 §8.4, the primary volume descriptor in sector 16.
//
//	type     magic                 label
//	vfat     "FAT32   " at 82      11 bytes at 71
//	vfat     "FAT1x   " at 54      11 bytes at 43 (FAT12, FAT16)
//	iso9660  "\1CD001\1" at 32768  32 bytes at 32808
var superblocks = []struct {
	kind    string
	magic   string
	magicAt int64
	label   int64
	length  int
}{
	{"vfat", "FAT32   ", 82, 71, 11},
	{"vfat", "FAT16   ", 54, 43, 11},
	{"vfat", "FAT12   ", 54, 43, 11},
	{"iso9660", "\x01CD001\x01", 32768, 32808, 32},
}

// label reads a file system's type and label from its superblock. Both are
// empty when it is none that a seed can have.
func label(r io.ReaderAt) (kind, name string) {
	for _, s := range superblocks {
		if text(r, s.magicAt, len(s.magic)) == s.magic {
			return s.kind, strings.TrimRight(text(r, s.label, s.length), " \x00")
		}
	}
	return "", ""
}

// text is the bytes at an offset, or nothing when they cannot be read.
func text(r io.ReaderAt, at int64, length int) string {
	b := make([]byte, length)
	if _, err := r.ReadAt(b, at); err != nil {
		return ""
	}
	return string(b)
}
