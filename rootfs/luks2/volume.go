package luks2

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

const (
	sectorSize = 4096
	// DataOffset is where the data starts: cryptsetup's own choice.
	DataOffset = 16 << 20
	// KeySize is the size of a volume key in bytes: two AES-256 keys.
	KeySize = keySize
	// minIterations is the least that cryptsetup accepts.
	minIterations = 1000
)

// ErrPassphrase means that a passphrase opens no key slot that was tried.
var ErrPassphrase = errors.New("no key slot opens with this passphrase")

// Device is what a volume is on, such as a block device.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Slot is a key slot to be made.
type Slot struct {
	Passphrase []byte
	KDF        KDF
	// Token, if any, is JSON that says where the passphrase comes from; its
	// "keyslots" are set when the slot has a number.
	Token []byte
}

// KDF chooses how the key of a slot is derived. The zero value is PBKDF2 for
// secrets with 256 random bits.
type KDF struct {
	Time, MemoryKiB, CPUs int // not zero: Argon2id
}

func (k KDF) make() (kdf, error) {
	salt := make([]byte, 32)
	if _, err := rand.Read(salt); err != nil {
		return kdf{}, err
	}
	if k == (KDF{}) {
		return kdf{Type: "pbkdf2", Hash: "sha512", Iterations: minIterations, Salt: salt}, nil
	}
	made := kdf{Type: "argon2id", Time: k.Time, MemoryKiB: k.MemoryKiB, CPUs: k.CPUs, Salt: salt}
	return made, made.check()
}

// Volume is an existing volume.
type Volume struct {
	device Device
	header header
	meta   *metadata
}

// Open reads a volume's headers: ErrNone, ErrDamaged, or another error.
func Open(device Device) (*Volume, error) {
	c, err := newest(device)
	if err != nil {
		return nil, fmt.Errorf("open LUKS volume: %w", err)
	}
	return &Volume{device, c.header, c.meta}, nil
}

// UUID is the volume's, as text.
func (v *Volume) UUID() string { return text(v.header.UUID[:]) }

// Label is the volume's.
func (v *Volume) Label() string { return text(v.header.Label[:]) }

// Sequence grows with each change of the volume's metadata.
func (v *Volume) Sequence() uint64 { return v.header.Sequence }

// Data tells where the data is: from offset to the device's
// end, encrypted by sectors of so many bytes.
func (v *Volume) Data() (offset int64, sector int, err error) {
	s, err := v.meta.segment()
	return int64(s.Offset), s.SectorSize, err
}

// Slots lists the key slots in order.
func (v *Volume) Slots() []int { return numbers(v.meta.Keyslots) }

// Tokens are the volume's, by number, as JSON.
func (v *Volume) Tokens() map[int]json.RawMessage {
	tokens := map[int]json.RawMessage{}
	for _, n := range numbers(v.meta.Tokens) {
		tokens[n] = slices.Clone(v.meta.Tokens[strconv.Itoa(n)])
	}
	return tokens
}

func numbers[T any](of map[string]T) []int {
	var all []int
	for name := range maps.Keys(of) {
		if n, err := slotNumber(name); err == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// Unlock gets the volume key out of the first slot that opens, of those given
// or of all. The caller wipes it. Slots of a kind that is not known are passed
// over.
func (v *Volume) Unlock(passphrase []byte, slots ...int) (key []byte, slot int, err error) {
	if len(slots) == 0 {
		slots = v.Slots()
	}
	var failed error
	for _, n := range slots {
		key, err := v.unlockSlot(n, passphrase)
		if err == nil {
			return key, n, nil
		}
		if !errors.Is(err, ErrPassphrase) {
			failed = errors.Join(failed, err)
		}
	}
	return nil, 0, fmt.Errorf("unlock LUKS volume: %w", errors.Join(ErrPassphrase, failed))
}

func (v *Volume) unlockSlot(n int, passphrase []byte) ([]byte, error) {
	slot, err := v.meta.slot(n)
	if err != nil {
		return nil, err
	}
	content := make([]byte, areaSize)
	if _, err := v.device.ReadAt(content[:splitSize], int64(slot.Area.Offset)); err != nil {
		return nil, fmt.Errorf("read key slot %d: %w", n, err)
	}
	key, err := slot.open(content, passphrase)
	if err != nil {
		return nil, fmt.Errorf("open key slot %d: %w", n, err)
	}
	right, err := v.verify(key, n)
	if err == nil && !right {
		err = ErrPassphrase
	}
	if err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

// verify checks a volume key with the digest of a slot.
func (v *Volume) verify(key []byte, slot int) (bool, error) {
	for _, d := range v.meta.Digests {
		if slices.Contains(d.Keyslots, strconv.Itoa(slot)) {
			return d.check(key)
		}
	}
	return false, fmt.Errorf("key slot %d has no digest", slot)
}

// save writes both headers with new metadata, the next in sequence.
func (v *Volume) save(meta *metadata, order ...uint64) error {
	data, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	next := v.header
	next.Sequence++
	for _, offset := range order {
		b, err := encodeHeader(next, offset, data)
		if err != nil {
			return err
		}
		if err := write(v.device, b, offset); err != nil {
			return fmt.Errorf("write header at %d: %w", offset, err)
		}
	}
	v.header, v.meta = next, meta
	return nil
}

// write writes and flushes.
func write(device Device, b []byte, at uint64) error {
	if _, err := device.WriteAt(b, int64(at)); err != nil {
		return err
	}
	return device.Sync()
}
