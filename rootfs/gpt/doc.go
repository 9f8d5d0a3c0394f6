// Package gpt reads, changes and writes GUID partition tables so that at every instant one valid table is on the disk.
//
// It follows the UEFI specification 2.10, chapter 5. All numbers are little
// endian. LBA 0 holds the protective MBR, LBA 1 the primary header, LBA 2 and
// on the primary entries; the backup entries and then the backup header end
// the disk. There are always 128 entries of 128 bytes.
//
// Header, 92 bytes at the start of its sector, the rest of which is zero:
//
//	offset size field
//	0      8    signature "EFI PART"
//	8      4    revision 0x00010000
//	12     4    header size, 92
//	16     4    CRC-32 of the header, with this field zero
//	20     4    zero
//	24     8    LBA of this header
//	32     8    LBA of the other header
//	40     8    first LBA for partitions
//	48     8    last LBA for partitions
//	56     16   disk GUID
//	72     8    LBA of the entries
//	80     4    number of entries
//	84     4    size of an entry
//	88     4    CRC-32 of the entries
//
// Entry, 128 bytes, unused when the type is zero:
//
//	offset size field
//	0      16   type GUID
//	16     16   unique GUID
//	32     8    first LBA
//	40     8    last LBA, inclusive
//	48     8    attributes
//	56     72   name, UTF-16, padded with zeros
//
// Protective MBR: the 16-byte partition record at offset 446 (type 0xee, from
// LBA 1 to the end of the disk or 2^32-1), three empty ones, and 0x55 0xaa.
//
// # Decisions
//
// Write replaces the copy that Read did not use first, flushes, and only then
// touches the other: a crash leaves the old table or the new one.
//
// A table with other entry counts or sizes is refused rather than carried
// along: every disk that Holdfast boots from was written by this package.
package gpt
