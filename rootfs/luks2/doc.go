// Package luks2 formats LUKS2 volumes, edits their key slots and tokens, and gets the volume key out of a slot.
//
// It follows the LUKS2 On-Disk Format Specification 1.1.1. A volume starts with
// two copies of its metadata, the areas of the key slots, and the data:
//
//	offset        size          content
//	0             H             primary header (H is 16 KiB here)
//	H             H             secondary header
//	2H            keyslots_size areas of the key slots, each a multiple of 4 KiB
//	segment       to the end    data, in aes-xts-plain64 with sectors of 4096 bytes
//
// A header is a binary part of 4096 bytes, big endian, and JSON that is padded
// with zeros:
//
//	offset size field
//	0      6    "LUKS\xba\xbe", in the secondary header "SKUL\xba\xbe"
//	6      2    version, 2
//	8      8    H
//	16     8    sequence number, which grows with each change
//	24     48   label
//	72     32   algorithm of the check sum, "sha256"
//	104    64   salt, random for each copy and change
//	168    40   UUID, text
//	208    48   subsystem
//	256    8    offset of this header, 0 or H
//	264    184  zeros
//	448    64   check sum of the header, JSON included, with zeros here
//	512    3584 zeros
//	4096   H-4K JSON
//
// The JSON describes key slots (how a passphrase leads to the volume key),
// digests (how to tell the right volume key), segments (the data) and tokens
// (where a passphrase comes from). A slot's area holds the volume key, spread
// over 4000 stripes so that it is lost when any of them is (LUKS1's
// "anti-forensic" splitter), in aes-xts-plain64 with sectors of 512 bytes, under
// the key that PBKDF2 or Argon2id makes of the passphrase.
//
// # Order of writes
//
// Each line is flushed before the next one begins. A power cut anywhere leaves a
// device that is no LUKS volume, or one that opens with the key of before or the
// one of after:
//
//	Format  old headers are erased; areas of the slots; secondary header; primary header
//	Add     area of the new slot, which nothing names yet; primary header; secondary header
//	Kill    area, overwritten; primary header; secondary header
//	Replace Add with the new token, then Kill of the old slot with its tokens
//
// Of two good headers the one with the higher sequence number counts. A device
// without a primary header that has only a damaged secondary one is a format
// that was cut off, and counts as none: ErrNone. A primary header that is
// damaged, with no good secondary one, is ErrDamaged, and never formatted again
// without being told to.
//
// # Decisions
//
// Kill overwrites the area before the metadata forgets it, as cryptsetup does: a
// cut in between leaves a slot that opens with nothing, which the next Kill
// finds; the other order would leave key material that nothing names.
//
// The secrets of this system have 256 random bits. For them PBKDF2 with the
// fewest iterations that cryptsetup accepts is enough, as systemd-cryptenroll
// has it; Argon2id is there for passphrases that people choose.
//
// Not supported: detached headers, integrity, re-encryption, more than one
// segment. A volume that requires what is not known here is refused.
package luks2
