// Package verity makes and checks the hash trees of dm-verity, as veritysetup does.
//
// It follows the kernel's Documentation/admin-guide/device-mapper/verity.rst and
// cryptsetup's on-disk format, for one case: version 1, SHA-256, blocks of 4096
// bytes. A hash device starts with a superblock, little endian, in a block of
// its own:
//
//	offset size field
//	0      8    signature "verity\0\0"
//	8      4    version of the superblock, 1
//	12     4    hash type, 1
//	16     16   UUID, in the order of its text
//	32     32   hash algorithm "sha256", padded with zeros
//	64     4    data block size, 4096
//	68     4    hash block size, 4096
//	72     8    number of data blocks
//	80     2    size of the salt
//	82     6    zero
//	88     256  salt, padded with zeros
//	344    168  zero
//
// The tree follows from block 1 on, the level of the root first. A digest is
// SHA-256 of the salt and a block; a hash block holds the digests of 128 blocks
// of the level below, padded with zeros. The root hash is the digest of the top
// level's only block, or, where there is but one data block, of that.
//
// # Decisions
//
// The digests of all data blocks are kept in memory, 8 MiB for 1 GiB of data,
// which is what a root partition holds: so a level is hashed, written and
// checked as one piece.
package verity
