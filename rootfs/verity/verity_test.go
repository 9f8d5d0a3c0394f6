package verity

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var testUUID = [16]byte([]byte("\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"))

const uuidText = "01234567-89ab-cdef-0123-456789abcdef"

func TestSize(t *testing.T) {
	if got := binary.Size(rawSuperblock{}); got != SuperblockSize {
		t.Errorf("superblock has %d bytes on disk, want %d", got, SuperblockSize)
	}
}

func TestTreeSize(t *testing.T) {
	tests := []struct {
		dataBlocks uint64
		want       int64 // blocks
	}{
		{1, 1}, {2, 2}, {128, 2}, {129, 1 + 2 + 1}, {128 * 128, 1 + 128 + 1}, {128*128 + 1, 1 + 129 + 2 + 1},
		{262144, 1 + 2048 + 16 + 1}, // 1 GiB: fits into the 16 MiB of a verity partition
	}
	for _, tt := range tests {
		if got := TreeSize(tt.dataBlocks); got != tt.want*BlockSize {
			t.Errorf("TreeSize(%d) = %d blocks, want %d", tt.dataBlocks, got/BlockSize, tt.want)
		}
	}
}

// randomFile makes a file of that many blocks, the same at every call.
func randomFile(t *testing.T, blocks int) string {
	t.Helper()
	data := make([]byte, blocks*BlockSize)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(data)
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// format makes the tree of a file beside it.
func format(t *testing.T, data string, salt []byte) (tree string, root [32]byte) {
	t.Helper()
	in, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(data + ".tree")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if root, err = Format(in, info.Size(), salt, testUUID, out); err != nil {
		t.Fatal(err)
	}
	return out.Name(), root
}

func verify(t *testing.T, data, tree string, root [32]byte) error {
	t.Helper()
	d, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h, err := os.Open(tree)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return Verify(d, h, root)
}

// TestVeritysetup compares with veritysetup, byte for byte.
func TestVeritysetup(t *testing.T) {
	if _, err := exec.LookPath("veritysetup"); err != nil && os.Getenv("CI") == "" {
		t.Skip("veritysetup is not installed")
	}
	for _, blocks := range []int{1, 2, 128, 129, 1000, 128*128 + 1} {
		for _, salt := range []string{"", "00", strings.Repeat("5a", 32), strings.Repeat("ff", 256)} {
			t.Run(fmt.Sprintf("%d blocks, %d bytes of salt", blocks, len(salt)/2), func(t *testing.T) {
				data := randomFile(t, blocks)
				raw, err := hex.DecodeString(salt)
				if err != nil {
					t.Fatal(err)
				}
				tree, root := format(t, data, raw)
				compare(t, data, tree, salt, root)
				if got, want := size(t, tree), TreeSize(uint64(blocks)); got != want {
					t.Errorf("tree has %d bytes, want %d", got, want)
				}
				if err := verify(t, data, tree, root); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func compare(t *testing.T, data, tree, salt string, root [32]byte) {
	t.Helper()
	if salt == "" {
		salt = "-"
	}
	theirs := data + ".theirs"
	out, err := exec.Command("veritysetup", "format", "--salt="+salt, "--uuid="+uuidText, data, theirs).CombinedOutput()
	if err != nil {
		t.Fatalf("veritysetup format: %v\n%s", err, out)
	}
	if want := fmt.Sprintf("Root hash:      \t%x\n", root); !strings.Contains(string(out), want) {
		t.Errorf("root hash %x, veritysetup format:\n%s", root, out)
	}
	if out, err := exec.Command("cmp", tree, theirs).CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
	if out, err := exec.Command("veritysetup", "verify", data, tree, hex.EncodeToString(root[:])).CombinedOutput(); err != nil {
		t.Errorf("veritysetup verify: %v\n%s", err, out)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestFormatErrors(t *testing.T) {
	for _, tt := range []struct {
		size, salt int
		want       string
	}{
		{0, 0, "format verity: data of 0 bytes, expected a multiple of 4096"},
		{4097, 0, "format verity: data of 4097 bytes, expected a multiple of 4096"},
		{4096, 257, "format verity: encode verity superblock: salt of 257 bytes, at most 256 fit"},
		{8192, 0, "format verity: data: read blocks 0 to 1: EOF"}, // the data ends early
	} {
		_, err := Format(bytes.NewReader(make([]byte, 4096)), int64(tt.size), make([]byte, tt.salt), testUUID, nil)
		if err == nil || err.Error() != tt.want {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestVerifyErrors(t *testing.T) {
	const blocks = 128*128 + 1 // three levels: 129 blocks from block 4, 2 from 2, 1 from 1
	tests := []struct {
		name       string
		data, tree int64 // bytes to flip, 0: none; -1: cut in half
		flipRoot   bool
		want       string
	}{
		{name: "nothing"},
		{name: "first data block", data: 1, want: "verify verity: data block 0 does not have the digest that the tree gives"},
		{name: "a data block", data: 17*BlockSize + 5, want: "verify verity: data block 17 does not"},
		{name: "last data block", data: blocks*BlockSize - 1, want: "verify verity: data block 16384 does not"},
		{name: "data cut", data: -1, want: "verify verity: data: read blocks "},
		{name: "top of the tree", tree: BlockSize, want: "verify verity: tree block 1 does not have the digest that is the root hash"},
		{name: "middle of the tree", tree: 3 * BlockSize, want: "verify verity: tree block 3 does not have the digest that the tree gives"},
		{name: "padding of the tree", tree: (4+129)*BlockSize - 1, want: "verify verity: tree block 132 does not"},
		{name: "tree cut", tree: -1, want: "verify verity: tree of 544768 bytes expected: EOF"},
		{name: "salt", tree: 88, want: "verify verity: tree block 1 does not have the digest that is the root hash"},
		{name: "signature", tree: 7, want: `verify verity: parse verity superblock: no signature "verity\x00\x00"`},
		{name: "more data blocks than there are", tree: 72 + 6, want: "verify verity: tree of"},
		{name: "root hash", flipRoot: true, want: "verify verity: tree block 1 does not have the digest that is the root hash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := randomFile(t, blocks)
			tree, root := format(t, data, []byte("salt"))
			hurt(t, data, tt.data)
			hurt(t, tree, tt.tree)
			if tt.flipRoot {
				root[31] ^= 1
			}
			err := verify(t, data, tree, root)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// hurt flips a bit of the byte there, or cuts the file in half.
func hurt(t *testing.T, path string, at int64) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case at < 0:
		content = content[:len(content)/2]
	case at > 0:
		content[at] ^= 1
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTable(t *testing.T) {
	root := [32]byte{0xab, 31: 0xcd}
	hash := "ab" + strings.Repeat("00", 30) + "cd"
	tests := []struct {
		name    string
		salt    []byte
		options []string
		want    string
	}{
		{"plain", nil, nil, "1 /dev/vda2 /dev/vda3 4096 4096 1000 1 sha256 " + hash + " -"},
		{"salt and an option", []byte{1, 0xff}, []string{"panic_on_corruption"}, "1 /dev/vda2 /dev/vda3 4096 4096 1000 1 sha256 " + hash + " 01ff 1 panic_on_corruption"},
		{"an option of two words", nil, []string{"panic_on_corruption", "root_hash_sig_key_desc key"},
			"1 /dev/vda2 /dev/vda3 4096 4096 1000 1 sha256 " + hash + " - 3 panic_on_corruption root_hash_sig_key_desc key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Superblock{DataBlocks: 1000, Salt: tt.salt}
			if got := s.Table("/dev/vda2", "/dev/vda3", root, tt.options...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if s.Sectors() != 8000 {
				t.Errorf("%d sectors, want 8000", s.Sectors())
			}
		})
	}
}

func TestParseSuperblockErrors(t *testing.T) {
	tests := []struct {
		name  string
		at    int
		bytes string
		want  string
	}{
		{"signature", 0, "Verity", `no signature "verity\x00\x00"`},
		{"version", 8, "\x02", "version 2, hash type 1, expected 1 and 1"},
		{"hash type", 12, "\x00", "version 1, hash type 0, expected 1 and 1"},
		{"algorithm", 32, "sha512", `algorithm "sha512", expected sha256`},
		{"data block size", 64, "\x00\x02", "block sizes 512 and 4096, expected 4096"},
		{"hash block size", 68, "\x00\x02", "block sizes 4096 and 512, expected 4096"},
		{"no data blocks", 72, "\x00", "no data blocks"},
		{"too many data blocks", 79, "\x01", "72057594037927937 data blocks, at most 1125899906842624 are possible"},
		{"salt", 80, "\x01\x01", "salt of 257 bytes, at most 256 fit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Superblock{UUID: testUUID, DataBlocks: 1}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			copy(b[tt.at:], tt.bytes)
			if _, err := ParseSuperblock(b); err == nil || err.Error() != "parse verity superblock: "+tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := ParseSuperblock(make([]byte, 511)); err == nil {
		t.Error("511 bytes were parsed")
	}
}

func FuzzParseSuperblock(f *testing.F) {
	for _, s := range []Superblock{{testUUID, 1, nil}, {testUUID, maxBlocks, bytes.Repeat([]byte{7}, 256)}} {
		b, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:100])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		encoded, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSuperblock(encoded)
		if err != nil || again.UUID != s.UUID || again.DataBlocks != s.DataBlocks || !bytes.Equal(again.Salt, s.Salt) {
			t.Fatalf("%+v encoded and parsed: %+v, %v", s, again, err)
		}
		// Neither may what it says cost more memory than there is tree.
		if err := Verify(bytes.NewReader(nil), bytes.NewReader(b), [32]byte{}); err == nil {
			t.Error("verified without data")
		}
	})
}

func BenchmarkFormat(b *testing.B) {
	data := bytes.NewReader(make([]byte, 64<<20))
	b.SetBytes(data.Size())
	out, err := os.Create(filepath.Join(b.TempDir(), "tree"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	for b.Loop() {
		if _, err := Format(data, data.Size(), []byte("salt"), testUUID, out); err != nil {
			b.Fatal(err)
		}
	}
}
