package luks2

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Options are what a new volume gets.
type Options struct {
	UUID  string // text form
	Label string
	Slots []Slot
}

// Format makes a volume with a new volume key, over whatever was on the device,
// and returns it with the key, which the caller wipes. All slots and tokens are
// there from the first moment that the device is a volume.
func Format(device Device, o Options) (v *Volume, volumeKey []byte, err error) {
	if len(o.Slots) == 0 || len(o.UUID) != 36 || len(o.Label) >= 48 {
		return nil, nil, fmt.Errorf("format LUKS volume: %d key slots, UUID %q, label %q", len(o.Slots), o.UUID, o.Label)
	}
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, fmt.Errorf("format LUKS volume: %w", err)
	}
	v = &Volume{device: device, header: header{Version: version, Size: headerSize}}
	copy(v.header.Label[:], o.Label)
	copy(v.header.UUID[:], o.UUID)
	copy(v.header.Algorithm[:], "sha256")
	if err := v.format(key, o.Slots); err != nil {
		clear(key)
		return nil, nil, fmt.Errorf("format LUKS volume: %w", err)
	}
	return v, key, nil
}

func (v *Volume) format(key []byte, slots []Slot) error {
	meta, err := newMetadata(key)
	if err != nil {
		return err
	}
	if err := erase(v.device); err != nil {
		return fmt.Errorf("erase old headers: %w", err)
	}
	for _, s := range slots {
		if _, err := v.place(meta, key, s); err != nil {
			return err
		}
	}
	return v.save(meta, headerSize, 0)
}

func newMetadata(key []byte) (*metadata, error) {
	d := digest{Type: "pbkdf2", Segments: []string{"0"}, Keyslots: []string{}, Hash: "sha256", Iterations: minIterations, Salt: make([]byte, 32)}
	if _, err := rand.Read(d.Salt); err != nil {
		return nil, err
	}
	var err error
	if d.Digest, err = pbkdf2Key(d.Hash, key, d.Salt, d.Iterations, 32); err != nil {
		return nil, err
	}
	seg, err := json.Marshal(segment{Type: "crypt", Offset: DataOffset, Size: "dynamic", Encryption: cipher, SectorSize: sectorSize})
	if err != nil {
		return nil, err
	}
	conf, err := json.Marshal(config{JSONSize: headerSize - binarySize, KeyslotsSize: DataOffset - 2*headerSize})
	return &metadata{
		Keyslots: map[string]json.RawMessage{}, Tokens: map[string]json.RawMessage{}, Segments: map[string]json.RawMessage{"0": seg},
		Digests: map[string]digest{"0": d}, Config: conf,
	}, err
}

// erase overwrites the magic numbers of old headers, wherever one could be
// found when the new ones are damaged.
func erase(device Device) error {
	for _, at := range append([]uint64{0}, secondaryOffsets()...) {
		b := make([]byte, binarySize)
		if _, err := device.ReadAt(b, int64(at)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.HasPrefix(b, primaryMagic[:]) && !bytes.HasPrefix(b, secondaryMagic[:]) {
			continue
		}
		if _, err := device.WriteAt(make([]byte, binarySize), int64(at)); err != nil {
			return err
		}
	}
	return device.Sync()
}

// place writes the area of a new slot and adds it, with its token, to the
// metadata, which is not written.
func (v *Volume) place(meta *metadata, volumeKey []byte, s Slot) (number int, err error) {
	if number, err = free(meta.Keyslots); err != nil {
		return 0, fmt.Errorf("add key slot: %w", err)
	}
	at, err := meta.freeArea()
	if err != nil {
		return 0, fmt.Errorf("add key slot %d: %w", number, err)
	}
	k := keyslot{
		Type: "luks2", KeySize: keySize, AF: af{"luks1", stripes, "sha256"},
		Area: area{Type: "raw", Offset: decimal(at), Size: areaSize, Encryption: cipher, KeySize: keySize},
	}
	if k.KDF, err = s.KDF.make(); err != nil {
		return 0, fmt.Errorf("add key slot %d: %w", number, err)
	}
	if err := meta.add(number, k, s.Token); err != nil {
		return 0, fmt.Errorf("add key slot %d: %w", number, err)
	}
	content, err := k.seal(volumeKey, s.Passphrase)
	if err != nil {
		return 0, fmt.Errorf("add key slot %d: %w", number, err)
	}
	if err := write(v.device, content, at); err != nil {
		return 0, fmt.Errorf("write key slot %d: %w", number, err)
	}
	return number, nil
}

// add enters a slot, its digest and its token.
func (m *metadata) add(slot int, k keyslot, token []byte) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	name := strconv.Itoa(slot)
	m.Keyslots[name] = raw
	d := m.Digests["0"]
	d.Keyslots = append(d.Keyslots, name)
	m.Digests["0"] = d
	if len(token) == 0 {
		return nil
	}
	n, err := free(m.Tokens)
	if err != nil {
		return fmt.Errorf("add token: %w", err)
	}
	m.Tokens[strconv.Itoa(n)], err = withSlots(token, name)
	return err
}
