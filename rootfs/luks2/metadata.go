package luks2

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// metadata is the JSON of a header. What this package need not know is kept as
// it is.
type metadata struct {
	Keyslots map[string]json.RawMessage `json:"keyslots"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Segments map[string]json.RawMessage `json:"segments"`
	Digests  map[string]digest          `json:"digests"`
	Config   json.RawMessage            `json:"config"`
}

type keyslot struct {
	Type    string `json:"type"`
	KeySize int    `json:"key_size"` // of the volume key, in bytes
	AF      af     `json:"af"`
	Area    area   `json:"area"`
	KDF     kdf    `json:"kdf"`
}

type af struct {
	Type    string `json:"type"`
	Stripes int    `json:"stripes"`
	Hash    string `json:"hash"`
}

type area struct {
	Type       string  `json:"type"`
	Offset     decimal `json:"offset"`
	Size       decimal `json:"size"`
	Encryption string  `json:"encryption"`
	KeySize    int     `json:"key_size"`
}

type kdf struct {
	Type       string `json:"type"`
	Hash       string `json:"hash,omitempty"`       // pbkdf2
	Iterations int    `json:"iterations,omitempty"` // pbkdf2
	Time       int    `json:"time,omitempty"`       // argon2id
	MemoryKiB  int    `json:"memory,omitempty"`     // argon2id
	CPUs       int    `json:"cpus,omitempty"`       // argon2id
	Salt       octets `json:"salt"`
}

type digest struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int      `json:"iterations"`
	Salt       octets   `json:"salt"`
	Digest     octets   `json:"digest"`
}

type segment struct {
	Type       string  `json:"type"`
	Offset     decimal `json:"offset"`
	Size       string  `json:"size"` // "dynamic": to the end
	IVTweak    decimal `json:"iv_tweak"`
	Encryption string  `json:"encryption"`
	SectorSize int     `json:"sector_size"`
}

type config struct {
	JSONSize     decimal `json:"json_size"`
	KeyslotsSize decimal `json:"keyslots_size"`
	Requirements struct {
		Mandatory []string `json:"mandatory,omitempty"`
	} `json:"requirements,omitzero"`
}

// decimal is a number that is a string in JSON.
type decimal uint64

// MarshalJSON implements json.Marshaler.
func (n decimal) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatUint(uint64(n), 10))
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *decimal) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	v, err := strconv.ParseUint(s, 10, 63)
	*n = decimal(v)
	return err
}

// octets are base64 in JSON.
type octets []byte

// MarshalText implements encoding.TextMarshaler.
func (b octets) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(b)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *octets) UnmarshalText(text []byte) (err error) {
	*b, err = base64.StdEncoding.DecodeString(string(text))
	return err
}

// What is understood; the rest is refused. The limits keep a forged header from
// asking for more memory and time than any volume of ours does.
const (
	cipher        = "aes-xts-plain64"
	stripes       = 4000
	keySize       = 64
	areaAlign     = 4096
	maxSlots      = 32
	maxIterations = 100_000_000
	maxMemoryKiB  = 4 << 20
	maxSalt       = 1024
)

func parseMetadata(data []byte, headerSize uint64) (*metadata, error) {
	m := &metadata{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("parse metadata: %w", err)
	}
	if err := m.check(headerSize); err != nil {
		return nil, fmt.Errorf("parse metadata: %w", err)
	}
	return m, nil
}

func (m *metadata) check(headerSize uint64) error {
	c, err := m.config()
	if err != nil {
		return err
	}
	if uint64(c.JSONSize) != headerSize-binarySize {
		return fmt.Errorf("config: json_size %d, expected %d", c.JSONSize, headerSize-binarySize)
	}
	if len(c.Requirements.Mandatory) > 0 {
		return fmt.Errorf("it requires %q, which is not known here", c.Requirements.Mandatory)
	}
	s, err := m.segment()
	if err != nil {
		return err
	}
	if end := 2*headerSize + uint64(c.KeyslotsSize); end < uint64(c.KeyslotsSize) || end > uint64(s.Offset) {
		return fmt.Errorf("config: keyslots_size %d: the key slots end at %d, the data starts at %d", c.KeyslotsSize, end, s.Offset)
	}
	if len(m.Keyslots) > maxSlots || len(m.Tokens) > maxSlots {
		return fmt.Errorf("%d key slots and %d tokens, expected at most %d", len(m.Keyslots), len(m.Tokens), maxSlots)
	}
	for _, names := range []map[string]json.RawMessage{m.Keyslots, m.Tokens} {
		for name := range names {
			if _, err := slotNumber(name); err != nil {
				return err
			}
		}
	}
	return m.checkDigests()
}

func (m *metadata) checkDigests() error {
	for name, d := range m.Digests {
		if d.Type != "pbkdf2" || d.Iterations < 1 || d.Iterations > maxIterations || len(d.Salt) > maxSalt || len(d.Digest) == 0 || len(d.Digest) > 64 {
			return fmt.Errorf("digest %s: %s with %d iterations, a salt of %d bytes and a result of %d, expected pbkdf2", name, d.Type, d.Iterations, len(d.Salt), len(d.Digest))
		}
		if _, err := hashFunc(d.Hash); err != nil {
			return fmt.Errorf("digest %s: %w", name, err)
		}
	}
	return nil
}

func slotNumber(name string) (int, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n >= maxSlots || strconv.Itoa(n) != name {
		return 0, fmt.Errorf("number %q, expected 0 to %d", name, maxSlots-1)
	}
	return n, nil
}

func (m *metadata) config() (config, error) {
	var c config
	if err := json.Unmarshal(m.Config, &c); err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// segment is the only one.
func (m *metadata) segment() (segment, error) {
	var s segment
	raw, ok := m.Segments["0"]
	if !ok || len(m.Segments) != 1 {
		return s, fmt.Errorf("%d segments, expected one, 0", len(m.Segments))
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("segment 0: %w", err)
	}
	if s.Type != "crypt" || s.Size != "dynamic" || s.IVTweak != 0 || s.Encryption != cipher || (s.SectorSize != 512 && s.SectorSize != sectorSize) {
		return s, fmt.Errorf("segment 0 is %+v, expected all of the device in %s", s, cipher)
	}
	return s, nil
}

// slot reads a key slot of the kind that is known here.
func (m *metadata) slot(number int) (keyslot, error) {
	var k keyslot
	raw, ok := m.Keyslots[strconv.Itoa(number)]
	if !ok {
		return k, fmt.Errorf("no key slot %d", number)
	}
	err := json.Unmarshal(raw, &k)
	if err == nil {
		err = k.check(m)
	}
	if err != nil {
		return k, fmt.Errorf("key slot %d: %w", number, err)
	}
	return k, nil
}

func (k keyslot) check(m *metadata) error {
	switch {
	case k.Type != "luks2" || k.KeySize != keySize:
		return fmt.Errorf("type %q, key of %d bytes, expected luks2 and %d", k.Type, k.KeySize, keySize)
	case k.AF.Type != "luks1" || k.AF.Stripes != stripes:
		return fmt.Errorf("splitter %q with %d stripes, expected luks1 with %d", k.AF.Type, k.AF.Stripes, stripes)
	case k.Area.Type != "raw" || k.Area.Encryption != cipher || k.Area.KeySize != keySize:
		return fmt.Errorf("area %q in %q with a key of %d bytes, expected raw, %s and %d", k.Area.Type, k.Area.Encryption, k.Area.KeySize, cipher, keySize)
	case len(k.KDF.Salt) == 0 || len(k.KDF.Salt) > maxSalt:
		return fmt.Errorf("salt of %d bytes", len(k.KDF.Salt))
	}
	if _, err := hashFunc(k.AF.Hash); err != nil {
		return err
	}
	if err := k.KDF.check(); err != nil {
		return err
	}
	first, end, err := m.areas()
	if err != nil {
		return err
	}
	at, size := uint64(k.Area.Offset), uint64(k.Area.Size)
	if at < first || at%areaAlign != 0 || size < keySize*stripes || size > end || at > end-size {
		return fmt.Errorf("area of %d bytes at %d, the areas are from %d to %d", size, at, first, end)
	}
	return nil
}

// areas tells where areas of key slots may be.
func (m *metadata) areas() (first, end uint64, err error) {
	c, err := m.config()
	first = 2 * (uint64(c.JSONSize) + binarySize)
	return first, first + uint64(c.KeyslotsSize), err
}

// freeArea finds room for an area; every kind of slot has one.
func (m *metadata) freeArea() (uint64, error) {
	first, end, err := m.areas()
	if err != nil {
		return 0, err
	}
	type span struct{ at, size uint64 }
	var used []span
	for name, raw := range m.Keyslots {
		var k struct{ Area area }
		if err := json.Unmarshal(raw, &k); err != nil {
			return 0, fmt.Errorf("key slot %s: %w", name, err)
		}
		used = append(used, span{uint64(k.Area.Offset), uint64(k.Area.Size)})
	}
	slices.SortFunc(used, func(a, b span) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	at := first
	for _, u := range used {
		if u.at >= at+areaSize {
			break
		}
		at = max(at, (u.at+u.size+areaAlign-1)/areaAlign*areaAlign)
	}
	if at+areaSize > end {
		return 0, errors.New("no room for another key slot")
	}
	return at, nil
}

// free is the lowest number that a map has not.
func free[T any](of map[string]T) (int, error) {
	for n := range maxSlots {
		if _, taken := of[strconv.Itoa(n)]; !taken {
			return n, nil
		}
	}
	return 0, fmt.Errorf("all of %d are taken", maxSlots)
}

// clone copies deep enough for the maps to be changed.
func (m *metadata) clone() *metadata {
	c := &metadata{
		Keyslots: map[string]json.RawMessage{}, Tokens: map[string]json.RawMessage{}, Segments: m.Segments, Digests: map[string]digest{}, Config: m.Config,
	}
	for name, k := range m.Keyslots {
		c.Keyslots[name] = k
	}
	for name, t := range m.Tokens {
		c.Tokens[name] = t
	}
	for name, d := range m.Digests {
		d.Keyslots = slices.Clone(d.Keyslots)
		c.Digests[name] = d
	}
	return c
}
