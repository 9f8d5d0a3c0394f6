package luks2

import (
	"bytes"
	bigendian "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const testUUID = "0f7a4f60-9c4b-4c6b-8d54-0d4a1c1e5a01"

func TestSizes(t *testing.T) {
	if got := bigendian.Size(header{}); got != binarySize {
		t.Errorf("header: %d bytes, want %d", got, binarySize)
	}
	if splitSize%slotSector != 0 || areaSize%areaAlign != 0 || areaSize < splitSize {
		t.Errorf("area of %d bytes for %d", areaSize, splitSize)
	}
}

func slot(passphrase, token string) Slot {
	return Slot{Passphrase: []byte(passphrase), Token: []byte(token)}
}

func token(kind string) string {
	return fmt.Sprintf(`{"type":%q,"keyslots":[],"more":{"b":1,"a":[2]}}`, kind)
}

// format makes a volume with the slots one, which has a token, and two.
func format(t testing.TB, d Device) (*Volume, []byte) {
	t.Helper()
	v, key, err := Format(d, Options{UUID: testUUID, Label: "state", Slots: []Slot{slot("one", token("first")), slot("two", "")}})
	if err != nil {
		t.Fatal(err)
	}
	return v, key
}

// opens checks which passphrases open a device, and that they lead to the key.
func opens(t testing.TB, d Device, key []byte, passphrases ...string) {
	t.Helper()
	v, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"one", "two", "three", "none"} {
		got, _, err := v.Unlock([]byte(p))
		switch want := slices.Contains(passphrases, p); {
		case want && (err != nil || !bytes.Equal(got, key)):
			t.Errorf("passphrase %q: %v", p, err)
		case !want && !errors.Is(err, ErrPassphrase):
			t.Errorf("passphrase %q: %v, want that it opens nothing", p, err)
		}
	}
}

func tokens(v *Volume) string {
	all := map[int]string{}
	for n, t := range v.Tokens() {
		all[n] = string(t)
	}
	return fmt.Sprint(all)
}

func TestFormat(t *testing.T) {
	d := newMemory()
	if _, err := Open(d); !errors.Is(err, ErrNone) {
		t.Errorf("an empty device: %v", err)
	}
	v, key := format(t, d)
	opens(t, d, key, "one", "two")
	again, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*Volume{v, again} {
		if v.UUID() != testUUID || v.Label() != "state" || v.Sequence() != 1 || !slices.Equal(v.Slots(), []int{0, 1}) {
			t.Errorf("UUID %s, label %s, sequence %d, slots %v", v.UUID(), v.Label(), v.Sequence(), v.Slots())
		}
		if at, sector, err := v.Data(); at != DataOffset || sector != 4096 || err != nil {
			t.Errorf("data at %d, sectors of %d bytes, %v", at, sector, err)
		}
		if got := tokens(v); got != `map[0:{"keyslots":["0"],"more":{"b":1,"a":[2]},"type":"first"}]` {
			t.Errorf("tokens %s", got)
		}
	}
	if _, n, err := v.Unlock([]byte("two")); err != nil || n != 1 {
		t.Errorf("slot %d, %v", n, err)
	}
	if _, _, err := v.Unlock([]byte("two"), 0); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another slot: %v", err)
	}
	if _, _, err := v.Unlock([]byte("two"), 7); err == nil || errors.Unwrap(err) == nil || !strings.Contains(err.Error(), "no key slot 7") {
		t.Errorf("no such slot: %v", err)
	}
}

func TestFormatErrors(t *testing.T) {
	ok := []Slot{slot("x", "")}
	for _, o := range []Options{
		{UUID: testUUID}, {UUID: "x", Slots: ok}, {UUID: testUUID, Label: strings.Repeat("x", 48), Slots: ok},
		{UUID: testUUID, Slots: []Slot{slot("x", "{")}}, {UUID: testUUID, Slots: []Slot{slot("x", `{"keyslots":[]}`)}},
		{UUID: testUUID, Slots: []Slot{{KDF: KDF{Time: 1}}}}, {UUID: testUUID, Slots: make([]Slot, maxSlots+1)},
		{UUID: testUUID, Slots: []Slot{slot("x", `{"type":"`+strings.Repeat("x", headerSize)+`"}`)}},
	} {
		if _, _, err := Format(newMemory(), o); err == nil {
			t.Errorf("%.100v was formatted", o)
		}
	}
	if _, _, err := Format(&memory{size: 1 << 16, pages: map[int64][]byte{}}, Options{UUID: testUUID, Slots: ok}); err == nil {
		t.Error("a device of 64 KiB was formatted")
	}
}

func TestAddKillReplace(t *testing.T) {
	d := newMemory()
	v, key := format(t, d)
	if n, err := v.Add(key, slot("three", token("third"))); err != nil || n != 2 {
		t.Fatalf("slot %d, %v", n, err)
	}
	opens(t, d, key, "one", "two", "three")
	if err := v.Kill(0); err != nil {
		t.Fatal(err)
	}
	opens(t, d, key, "two", "three")
	if got := tokens(v); got != `map[1:{"keyslots":["2"],"more":{"b":1,"a":[2]},"type":"third"}]` {
		t.Errorf("tokens %s", got)
	}
	if n, err := v.Replace(2, key, slot("one", token("fourth"))); err != nil || n != 0 {
		t.Fatalf("slot %d, %v", n, err)
	}
	opens(t, d, key, "one", "two")
	if err := v.Kill(1); err != nil {
		t.Fatal(err)
	}
	if err := v.Kill(0); err == nil || err.Error() != "kill key slot 0: it is the last one" {
		t.Errorf("the last slot: %v", err)
	}
	opens(t, d, key, "one")
	for _, err := range []error{v.Kill(5), second(v.Replace(5, key, slot("x", ""))), second(v.Add(make([]byte, KeySize), slot("x", "")))} {
		if err == nil {
			t.Error("no error for a slot that is not there, or another key")
		}
	}
	opens(t, d, key, "one")
}

func second[T any](_ T, err error) error { return err }

func TestSlotsRunOut(t *testing.T) {
	v, key := format(t, newMemory())
	for n := 2; n < maxSlots; n++ {
		if got, err := v.Add(key, slot("x", "")); err != nil || got != n {
			t.Fatalf("slot %d, %v, want %d", got, err, n)
		}
	}
	if _, err := v.Add(key, slot("x", "")); err == nil || err.Error() != "add key slot: all of 32 are taken" {
		t.Errorf("one more: %v", err)
	}
	if err := v.Kill(7); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Add(key, slot("three", "")); err != nil || got != 7 {
		t.Fatalf("slot %d, %v", got, err)
	}
	opens(t, v.device, key, "one", "two", "three")
}

func TestArgon2id(t *testing.T) {
	d := newMemory()
	v, key := format(t, d)
	s := slot("three", "")
	s.KDF = KDF{Time: 1, MemoryKiB: 64, CPUs: 2}
	if _, err := v.Add(key, s); err != nil {
		t.Fatal(err)
	}
	opens(t, d, key, "one", "two", "three")
}

// TestSplitterLosesTheKey: with any stripe gone, so is the key.
func TestSplitterLosesTheKey(t *testing.T) {
	key := bytes.Repeat([]byte("k"), keySize)
	for _, h := range []string{"sha256", "sha512"} {
		content, err := split(key, h)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := merge(bytes.Clone(content), h); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: came back as %x, %v", h, got, err)
		}
		for _, stripe := range []int{0, 1, stripes / 2, stripes - 1} {
			broken := bytes.Clone(content)
			broken[stripe*keySize+5] ^= 1
			if got, err := merge(broken, h); err != nil || bytes.Equal(got, key) {
				t.Errorf("%s, stripe %d changed: the key survived (%v)", h, stripe, err)
			}
		}
	}
}

// edit changes a copy's JSON and makes its check sum right again.
func edit(t testing.TB, d *memory, offset uint64, change func(*header, []byte) []byte) {
	t.Helper()
	h, data, err := readHeader(d, offset)
	if err != nil {
		t.Fatal(err)
	}
	data = change(&h, bytes.Clone(data))
	b, err := encodeHeader(h, offset, data)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, d, op{int64(offset), b})
}

func TestHeaderChoice(t *testing.T) {
	d := newMemory()
	_, key := format(t, d)
	flip := func(at int64) func(*memory) {
		return func(m *memory) {
			b := make([]byte, 1)
			if _, err := m.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			apply(t, m, op{at, b})
		}
	}
	newer := func(offset uint64) func(*memory) {
		return func(m *memory) {
			edit(t, m, offset, func(h *header, data []byte) []byte {
				h.Sequence = 9
				return bytes.Replace(data, []byte("first"), []byte("newer"), 1)
			})
		}
	}
	for _, tt := range []struct {
		name   string
		change []func(*memory)
		want   string // the token's type, or the error
	}{
		{"both good", nil, "first"},
		{"primary's magic", []func(*memory){flip(0)}, "first"},
		{"primary's JSON", []func(*memory){flip(5000)}, "first"},
		{"secondary's magic", []func(*memory){flip(headerSize)}, "first"},
		{"secondary's JSON", []func(*memory){flip(headerSize + 5000)}, "first"},
		{"newer primary", []func(*memory){newer(0)}, "newer"},
		{"newer secondary", []func(*memory){newer(headerSize)}, "newer"},
		{"newer secondary, damaged", []func(*memory){newer(headerSize), flip(headerSize + 8000)}, "first"},
		{"both damaged", []func(*memory){flip(5000), flip(headerSize + 5000)}, ErrDamaged.Error()},
		{"damaged and none", []func(*memory){flip(5000), flip(headerSize)}, ErrDamaged.Error()},
		{"none and damaged", []func(*memory){flip(0), flip(headerSize + 5000)}, ErrNone.Error()},
		{"none", []func(*memory){flip(0), flip(headerSize)}, ErrNone.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := d.clone()
			for _, c := range tt.change {
				c(m)
			}
			v, err := Open(m)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %s", err, tt.want)
				}
				return
			}
			if got := string(v.Tokens()[0]); !strings.Contains(got, tt.want) {
				t.Errorf("token %s, want %s", got, tt.want)
			}
			opens(t, m, key, "one", "two")
			// The next change repairs both copies.
			if _, err := v.Add(key, slot("three", "")); err != nil {
				t.Fatal(err)
			}
			for _, offset := range []uint64{0, headerSize} {
				if c := readCandidate(m, offset); c.err != nil || c.Sequence != v.Sequence() {
					t.Errorf("header at %d: sequence %d, %v", offset, c.Sequence, c.err)
				}
			}
		})
	}
}

// TestRefused holds what is not understood, or would read out of bounds.
func TestRefused(t *testing.T) {
	d := newMemory()
	format(t, d)
	for _, tt := range []struct{ old, new, want string }{
		{`"json_size":"12288"`, `"json_size":"12287"`, "config: json_size 12287, expected 12288"},
		{`"json_size":"12288"`, `"requirements":{"mandatory":["online-reencrypt-v2"]},"json_size":"12288"`, "it requires"},
		{`"keyslots_size":"16744448"`, `"keyslots_size":"16744449"`, "the key slots end at 16777217, the data starts at 16777216"},
		{`"keyslots_size":"16744448"`, `"keyslots_size":"9223372036854775807"`, "config: keyslots_size"},
		{`"keyslots_size":"16744448"`, `"keyslots_size":16744448`, "config: json: cannot unmarshal number"},
		{`"segments":{"0"`, `"segments":{"1"`, "1 segments, expected one, 0"},
		{`"sector_size":4096`, `"sector_size":1024`, "segment 0 is"},
		{`"iv_tweak":"0"`, `"iv_tweak":"-1"`, "segment 0:"},
		{`"keyslots":{"0"`, `"keyslots":{"00"`, `number "00", expected 0 to 31`},
		{`"segments":["0"],"hash":"sha256","iterations":1000`, `"segments":["0"],"hash":"sha256","iterations":-1`, "digest 0: pbkdf2 with -1 iterations"},
		{`"segments":["0"],"hash":"sha256","iterations":1000`, `"segments":["0"],"hash":"sha256","iterations":1000000000000`, "digest 0: pbkdf2 with"},
		{`"segments":["0"],"hash":"sha256"`, `"segments":["0"],"hash":"md5"`, `digest 0: hash "md5"`},
	} {
		m := d.clone()
		for _, offset := range []uint64{0, headerSize} {
			edit(t, m, offset, func(_ *header, data []byte) []byte {
				changed := bytes.Replace(data, []byte(tt.old), []byte(tt.new), 1)
				if bytes.Equal(changed, data) {
					t.Fatalf("%s is not in %s", tt.old, data)
				}
				return changed
			})
		}
		if _, err := Open(m); err == nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.new, err, tt.want)
		}
	}
}

// TestUnknownSlots: slots of another kind are passed over, kept, and can be killed.
func TestUnknownSlots(t *testing.T) {
	d := newMemory()
	_, key := format(t, d)
	for _, offset := range []uint64{0, headerSize} {
		edit(t, d, offset, func(_ *header, data []byte) []byte {
			return bytes.Replace(data, []byte(`"stripes":4000`), []byte(`"stripes":3999,"new":true`), 1)
		})
	}
	v, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Unlock([]byte("one")); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "3999 stripes") {
		t.Errorf("unlocked: %v", err)
	}
	if _, err := v.Add(key, slot("three", "")); err != nil {
		t.Fatal(err)
	}
	if raw := string(v.meta.Keyslots["0"]); !strings.Contains(raw, `"new":true`) {
		t.Errorf("what is not known was lost: %s", raw)
	}
	opens(t, d, key, "two", "three")
	if err := v.Kill(0); err != nil {
		t.Fatal(err)
	}
	opens(t, d, key, "two", "three")
}

func FuzzOpen(f *testing.F) {
	d := newMemory()
	v, _ := format(f, d)
	data, err := json.Marshal(v.meta)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint64(headerSize), []byte{})
	f.Add([]byte("{}"), uint64(headerSize), []byte("LUKS\xba\xbe\x00\x02"))
	f.Fuzz(func(_ *testing.T, data []byte, size uint64, raw []byte) {
		m := d.clone()
		if _, err := m.WriteAt(raw[:min(len(raw), headerSize)], headerSize); err != nil {
			return
		}
		if size <= maxHeaderSize {
			h := header{Version: version, Size: size, Sequence: 9}
			copy(h.Algorithm[:], "sha256")
			if b, err := encodeHeader(h, 0, data); err == nil {
				if _, err := m.WriteAt(b, 0); err != nil {
					return
				}
			}
		}
		v, err := Open(m)
		if err != nil {
			return
		}
		for _, n := range v.Slots() { // nothing may read out of bounds
			if k, err := v.meta.slot(n); err == nil && k.KDF.Type == "pbkdf2" && k.KDF.Iterations < 2000 {
				_, _ = v.unlockSlot(n, []byte("one"))
			}
		}
		_, _ = v.meta.freeArea()
		_ = v.Tokens()
	})
}
