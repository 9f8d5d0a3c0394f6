package verity

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// level is one level of a tree.
type level struct {
	first  int64 // its first block on the hash device
	blocks int64
}

// levels are a tree's, the lowest first. A single data block has none.
func levels(dataBlocks uint64) []level {
	var tree []level
	for n := int64(dataBlocks); n > 1; {
		n = (n + perHashBlock - 1) / perHashBlock
		tree = append(tree, level{blocks: n})
	}
	next := int64(hashStart)
	for i := len(tree) - 1; i >= 0; i-- {
		tree[i].first = next
		next += tree[i].blocks
	}
	return tree
}

// TreeSize is the size in bytes of a hash device for that many data blocks:
// the superblock's block and the tree.
func TreeSize(dataBlocks uint64) int64 {
	size := int64(hashStart)
	for _, l := range levels(dataBlocks) {
		size += l.blocks
	}
	return size * BlockSize
}

// Format writes the superblock and the tree for size bytes of data, a multiple
// of BlockSize, and returns the root hash.
func Format(data io.ReaderAt, size int64, salt []byte, uuid [16]byte, out io.WriterAt) (root [32]byte, err error) {
	if size <= 0 || size%BlockSize != 0 {
		return root, fmt.Errorf("format verity: data of %d bytes, expected a multiple of %d", size, BlockSize)
	}
	s := Superblock{uuid, uint64(size / BlockSize), salt}
	block, err := s.Encode()
	if err != nil {
		return root, fmt.Errorf("format verity: %w", err)
	}
	digests, err := s.digests(data, size/BlockSize)
	if err != nil {
		return root, fmt.Errorf("format verity: data: %w", err)
	}
	for _, l := range levels(s.DataBlocks) {
		content := append(digests, make([]byte, l.blocks*BlockSize-int64(len(digests)))...)
		if _, err := out.WriteAt(content, l.first*BlockSize); err != nil {
			return root, fmt.Errorf("format verity: write tree: %w", err)
		}
		if digests, err = s.digests(bytes.NewReader(content), l.blocks); err != nil {
			return root, fmt.Errorf("format verity: tree: %w", err)
		}
	}
	if _, err := out.WriteAt(append(block, make([]byte, BlockSize-SuperblockSize)...), 0); err != nil {
		return root, fmt.Errorf("format verity: write superblock: %w", err)
	}
	return [32]byte(digests), nil
}

// Verify checks a hash device and all data against the root hash. The error
// names the first block that is wrong, counted from the start of its device.
func Verify(data, tree io.ReaderAt, root [32]byte) error {
	block := make([]byte, SuperblockSize)
	if err := readAt(tree, block, 0); err != nil {
		return fmt.Errorf("verify verity: read superblock: %w", err)
	}
	s, err := ParseSuperblock(block)
	if err != nil {
		return fmt.Errorf("verify verity: %w", err)
	}
	// The superblock is not covered by the root hash: before memory is taken
	// for what it says, the tree has to be that large.
	if err := readAt(tree, block[:1], TreeSize(s.DataBlocks)-1); err != nil {
		return fmt.Errorf("verify verity: tree of %d bytes expected: %w", TreeSize(s.DataBlocks), err)
	}
	want := root[:]
	hashes := levels(s.DataBlocks)
	for i := len(hashes) - 1; i >= 0; i-- {
		l := hashes[i]
		content := make([]byte, l.blocks*BlockSize)
		if err := readAt(tree, content, l.first*BlockSize); err != nil {
			return fmt.Errorf("verify verity: read tree: %w", err)
		}
		if bad, err := s.mismatch(bytes.NewReader(content), l.blocks, want); err != nil {
			return fmt.Errorf("verify verity: tree: %w", err)
		} else if bad >= 0 {
			return fmt.Errorf("verify verity: tree block %d does not have the digest that %s", l.first+bad, parent(i, hashes))
		}
		want = content
	}
	if bad, err := s.mismatch(data, int64(s.DataBlocks), want); err != nil {
		return fmt.Errorf("verify verity: data: %w", err)
	} else if bad >= 0 {
		return fmt.Errorf("verify verity: data block %d does not have the digest that %s", bad, parent(-1, hashes))
	}
	return nil
}

// parent says what gives the digests of a level, -1 being the data.
func parent(i int, hashes []level) string {
	if i == len(hashes)-1 {
		return "is the root hash"
	}
	return "the tree gives"
}

// mismatch returns the first block whose digest is not the wanted one, or -1.
func (s Superblock) mismatch(r io.ReaderAt, blocks int64, want []byte) (int64, error) {
	got, err := s.digests(r, blocks)
	if err != nil {
		return 0, err
	}
	for i := range blocks {
		at := i * digestSize
		if !bytes.Equal(got[at:at+digestSize], want[at:at+digestSize]) {
			return i, nil
		}
	}
	return -1, nil
}

// digests hashes blocks with all CPUs.
func (s Superblock) digests(r io.ReaderAt, blocks int64) ([]byte, error) {
	const perChunk = 128 // blocks, 512 KiB
	chunks := (blocks + perChunk - 1) / perChunk
	out := make([]byte, blocks*digestSize)
	errs := make([]error, min(int64(runtime.GOMAXPROCS(0)), chunks))
	var next atomic.Int64
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			buf := make([]byte, min(perChunk, blocks)*BlockSize)
			for c := next.Add(1) - 1; c < chunks && errs[w] == nil; c = next.Add(1) - 1 {
				first, end := c*perChunk, min((c+1)*perChunk, blocks)
				errs[w] = s.digestChunk(r, first, buf[:(end-first)*BlockSize], out[first*digestSize:end*digestSize])
			}
			next.Add(chunks) // no more for anyone, be it done or in vain
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s Superblock) digestChunk(r io.ReaderAt, first int64, buf, out []byte) error {
	if err := readAt(r, buf, first*BlockSize); err != nil {
		return fmt.Errorf("read blocks %d to %d: %w", first, first+int64(len(buf)/BlockSize)-1, err)
	}
	h := sha256.New()
	for i := 0; i*BlockSize < len(buf); i++ {
		h.Reset()
		h.Write(s.Salt)
		h.Write(buf[i*BlockSize : (i+1)*BlockSize])
		h.Sum(out[i*digestSize : i*digestSize])
	}
	return nil
}

// readAt fills b; an end of file right behind it is no error.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	return err
}
