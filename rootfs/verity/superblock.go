package verity

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// BlockSize is the size of data and hash blocks in bytes.
const BlockSize = 4096

// SuperblockSize is the size of an encoded superblock in bytes.
const SuperblockSize = 512

const (
	maxSalt      = 256
	maxBlocks    = 1 << 50 // offsets fit into an int64
	digestSize   = 32
	perHashBlock = BlockSize / digestSize
	hashStart    = 1 // the tree's first block, behind the superblock's
)

// Superblock describes a hash device.
type Superblock struct {
	UUID       [16]byte // in the order of its text
	DataBlocks uint64
	Salt       []byte // at most 256 bytes
}

// rawSuperblock is the structure on disk, see the package comment.
type rawSuperblock struct {
	Signature     [8]byte
	Version       uint32
	HashType      uint32
	UUID          [16]byte
	Algorithm     [32]byte
	DataBlockSize uint32
	HashBlockSize uint32
	DataBlocks    uint64
	SaltSize      uint16
	_             [6]byte
	Salt          [maxSalt]byte
	_             [168]byte
}

var (
	signature = [8]byte([]byte("verity\x00\x00"))
	algorithm = [32]byte(append([]byte("sha256"), make([]byte, 26)...))
)

// Encode gives the bytes that start a hash device.
func (s Superblock) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("encode verity superblock: %w", err)
	}
	raw := rawSuperblock{
		Signature: signature, Version: 1, HashType: 1, UUID: s.UUID, Algorithm: algorithm,
		DataBlockSize: BlockSize, HashBlockSize: BlockSize, DataBlocks: s.DataBlocks, SaltSize: uint16(len(s.Salt)),
	}
	copy(raw.Salt[:], s.Salt)
	return binary.Append(nil, binary.LittleEndian, raw)
}

// ParseSuperblock reads the superblock that b starts with.
func ParseSuperblock(b []byte) (Superblock, error) {
	fail := func(format string, args ...any) (Superblock, error) {
		return Superblock{}, fmt.Errorf("parse verity superblock: "+format, args...)
	}
	var raw rawSuperblock
	if len(b) < SuperblockSize {
		return fail("%d bytes, expected %d", len(b), SuperblockSize)
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &raw); err != nil {
		return fail("%w", err)
	}
	switch {
	case raw.Signature != signature:
		return fail("no signature %q", signature[:])
	case raw.Version != 1 || raw.HashType != 1:
		return fail("version %d, hash type %d, expected 1 and 1", raw.Version, raw.HashType)
	case raw.Algorithm != algorithm:
		return fail("algorithm %q, expected sha256", bytes.TrimRight(raw.Algorithm[:], "\x00"))
	case raw.DataBlockSize != BlockSize || raw.HashBlockSize != BlockSize:
		return fail("block sizes %d and %d, expected %d", raw.DataBlockSize, raw.HashBlockSize, BlockSize)
	case raw.SaltSize > maxSalt:
		return fail("salt of %d bytes, at most %d fit", raw.SaltSize, maxSalt)
	}
	s := Superblock{UUID: raw.UUID, DataBlocks: raw.DataBlocks, Salt: bytes.Clone(raw.Salt[:raw.SaltSize])}
	if err := s.check(); err != nil {
		return fail("%w", err)
	}
	return s, nil
}

func (s Superblock) check() error {
	switch {
	case s.DataBlocks == 0:
		return errors.New("no data blocks")
	case s.DataBlocks > maxBlocks:
		return fmt.Errorf("%d data blocks, at most %d are possible", s.DataBlocks, uint64(maxBlocks))
	case len(s.Salt) > maxSalt:
		return fmt.Errorf("salt of %d bytes, at most %d fit", len(s.Salt), maxSalt)
	}
	return nil
}

// Sectors is the size of the mapped device in sectors of 512 bytes, as the
// device mapper's table wants it beside the parameters.
func (s Superblock) Sectors() uint64 { return s.DataBlocks * (BlockSize / 512) }

// Table renders the parameters of the device mapper's verity target. Devices
// are paths or "major:minor". An option may be several words.
func (s Superblock) Table(dataDev, hashDev string, root [32]byte, options ...string) string {
	salt := "-"
	if len(s.Salt) > 0 {
		salt = hex.EncodeToString(s.Salt)
	}
	params := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %s",
		dataDev, hashDev, BlockSize, BlockSize, s.DataBlocks, hashStart, root, salt)
	if words := strings.Fields(strings.Join(options, " ")); len(words) > 0 {
		params += fmt.Sprintf(" %d %s", len(words), strings.Join(words, " "))
	}
	return params
}
