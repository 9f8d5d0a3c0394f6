package luks2

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	binarySize    = 4096
	headerSize    = 16 << 10 // of each copy, when made here
	maxHeaderSize = 4 << 20
	version       = 2
	checksumAt    = 448
)

var (
	primaryMagic   = [6]byte([]byte("LUKS\xba\xbe"))
	secondaryMagic = [6]byte([]byte("SKUL\xba\xbe"))
)

// Errors of Open that a caller tells apart.
var (
	ErrNone    = errors.New("no LUKS volume")
	ErrDamaged = errors.New("both LUKS headers are damaged")
)

// header is the binary part on disk.
type header struct {
	Magic     [6]byte
	Version   uint16
	Size      uint64
	Sequence  uint64
	Label     [48]byte
	Algorithm [32]byte
	Salt      [64]byte
	UUID      [40]byte
	Subsystem [48]byte
	Offset    uint64
	_         [184]byte
	Checksum  [64]byte
	_         [7 * 512]byte
}

// encodeHeader renders one copy with its JSON.
func encodeHeader(h header, offset uint64, json []byte) ([]byte, error) {
	if binarySize+uint64(len(json)) >= h.Size { // a NUL ends it
		return nil, fmt.Errorf("metadata of %d bytes, the header has room for %d", len(json), h.Size-binarySize-1)
	}
	h.Magic, h.Offset = primaryMagic, offset
	if offset > 0 {
		h.Magic = secondaryMagic
	}
	if _, err := rand.Read(h.Salt[:]); err != nil {
		return nil, err
	}
	h.Checksum = [64]byte{}
	b := make([]byte, h.Size)
	if _, err := binary.Encode(b, binary.BigEndian, h); err != nil {
		return nil, err
	}
	copy(b[binarySize:], json)
	sum := sha256.Sum256(b)
	copy(b[checksumAt:], sum[:])
	return b, nil
}

// readHeader reads the copy at an offset; ErrNone means that there is none.
func readHeader(r io.ReaderAt, offset uint64) (h header, json []byte, err error) {
	first := make([]byte, binarySize)
	if _, err := r.ReadAt(first, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return h, nil, fmt.Errorf("read header at %d: %w", offset, err)
	}
	if _, err := binary.Decode(first, binary.BigEndian, &h); err != nil {
		return h, nil, err
	}
	magic := primaryMagic
	if offset > 0 {
		magic = secondaryMagic
	}
	switch {
	case h.Magic != magic:
		return h, nil, ErrNone
	case h.Version != version:
		return h, nil, fmt.Errorf("header at %d: LUKS version %d, expected 2", offset, h.Version)
	case h.Size < headerSize || h.Size > maxHeaderSize || h.Size&(h.Size-1) != 0:
		return h, nil, fmt.Errorf("header at %d: size %d, expected a power of two from 16 KiB to 4 MiB", offset, h.Size)
	case h.Offset != offset || (offset > 0 && offset != h.Size):
		return h, nil, fmt.Errorf("header at %d: says that it is at %d, with a size of %d", offset, h.Offset, h.Size)
	case text(h.Algorithm[:]) != "sha256":
		return h, nil, fmt.Errorf("header at %d: check sum algorithm %q, expected sha256", offset, text(h.Algorithm[:]))
	}
	whole := make([]byte, h.Size)
	if _, err := r.ReadAt(whole, int64(offset)); err != nil {
		return h, nil, fmt.Errorf("read header at %d: %w", offset, err)
	}
	clear(whole[checksumAt : checksumAt+len(h.Checksum)])
	if sum := sha256.Sum256(whole); !bytes.Equal(sum[:], h.Checksum[:len(sum)]) {
		return h, nil, fmt.Errorf("header at %d: wrong check sum", offset)
	}
	json, _, ended := bytes.Cut(whole[binarySize:], []byte{0})
	if !ended {
		return h, nil, fmt.Errorf("header at %d: its metadata has no end", offset)
	}
	return h, json, nil
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// secondaryOffsets are where the secondary header may be when the primary one,
// which knows, can't be read.
func secondaryOffsets() []uint64 {
	var all []uint64
	for at := uint64(headerSize); at <= maxHeaderSize; at *= 2 {
		all = append(all, at)
	}
	return all
}

// candidate is a copy that was read, or why not.
type candidate struct {
	header
	meta *metadata
	err  error
}

func readCandidate(r io.ReaderAt, offset uint64) candidate {
	h, json, err := readHeader(r, offset)
	if err != nil {
		return candidate{err: err}
	}
	meta, err := parseMetadata(json, h.Size)
	if err != nil {
		return candidate{err: fmt.Errorf("header at %d: %w", offset, err)}
	}
	return candidate{h, meta, nil}
}

// newest picks the header that counts.
func newest(r io.ReaderAt) (candidate, error) {
	primary := readCandidate(r, 0)
	offsets := secondaryOffsets()
	if primary.err == nil {
		offsets = []uint64{primary.Size}
	}
	var damage error
	for _, at := range offsets {
		secondary := readCandidate(r, at)
		if secondary.err == nil && (primary.err != nil || secondary.Sequence > primary.Sequence) {
			return secondary, nil
		}
		if secondary.err == nil {
			break
		}
		if !errors.Is(secondary.err, ErrNone) {
			damage = secondary.err
		}
	}
	switch {
	case primary.err == nil:
		return primary, nil
	case errors.Is(primary.err, ErrNone):
		return candidate{}, ErrNone
	}
	return candidate{}, fmt.Errorf("%w: %w", ErrDamaged, errors.Join(primary.err, damage))
}
