package luks2

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Add adds a key slot for the volume key, with its token.
func (v *Volume) Add(volumeKey []byte, s Slot) (slot int, err error) {
	if err := v.editable(volumeKey); err != nil {
		return 0, fmt.Errorf("add key slot: %w", err)
	}
	meta := v.meta.clone()
	if slot, err = v.place(meta, volumeKey, s); err != nil {
		return 0, err
	}
	return slot, v.save(meta, 0, v.header.Size)
}

// editable checks that a new slot would lead to the data.
func (v *Volume) editable(volumeKey []byte) error {
	d, ok := v.meta.Digests["0"]
	if !ok || len(v.meta.Digests) != 1 || !slices.Equal(d.Segments, []string{"0"}) {
		return errors.New("the volume has not exactly one digest, of its segment")
	}
	right, err := d.check(volumeKey)
	if err == nil && !right {
		err = errors.New("this is not the volume's key")
	}
	return err
}

// Kill removes a key slot for good, and the tokens that name only it. The last
// one stays: without it the data is lost.
func (v *Volume) Kill(slot int) error {
	name := strconv.Itoa(slot)
	raw, ok := v.meta.Keyslots[name]
	if !ok {
		return fmt.Errorf("kill key slot %d: there is none", slot)
	}
	if len(v.meta.Keyslots) == 1 {
		return fmt.Errorf("kill key slot %d: it is the last one", slot)
	}
	if err := v.wipe(raw); err != nil {
		return fmt.Errorf("kill key slot %d: %w", slot, err)
	}
	meta := v.meta.clone()
	if err := meta.remove(name); err != nil {
		return fmt.Errorf("kill key slot %d: %w", slot, err)
	}
	return v.save(meta, 0, v.header.Size)
}

// Replace puts a new slot in the place of an old one: at every moment one of
// them opens the volume.
func (v *Volume) Replace(old int, volumeKey []byte, s Slot) (slot int, err error) {
	if _, ok := v.meta.Keyslots[strconv.Itoa(old)]; !ok {
		return 0, fmt.Errorf("replace key slot %d: there is none", old)
	}
	if slot, err = v.Add(volumeKey, s); err != nil {
		return 0, err
	}
	// What was just written is read, before the old one is given up.
	key, err := v.unlockSlot(slot, s.Passphrase)
	if err != nil {
		return 0, fmt.Errorf("read back key slot %d: %w", slot, err)
	}
	clear(key)
	return slot, v.Kill(old)
}

// wipe overwrites a slot's area, of whatever kind the slot is.
func (v *Volume) wipe(raw json.RawMessage) error {
	var k struct{ Area area }
	if err := json.Unmarshal(raw, &k); err != nil {
		return err
	}
	first, end, err := v.meta.areas()
	if err != nil {
		return err
	}
	at, size := uint64(k.Area.Offset), uint64(k.Area.Size)
	if at < first || size > end || at > end-size {
		return fmt.Errorf("area of %d bytes at %d, the areas are from %d to %d", size, at, first, end)
	}
	noise := make([]byte, size)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	return write(v.device, noise, at)
}

// remove takes a slot out of the metadata.
func (m *metadata) remove(name string) error {
	delete(m.Keyslots, name)
	for n, d := range m.Digests {
		d.Keyslots = slices.DeleteFunc(d.Keyslots, func(s string) bool { return s == name })
		m.Digests[n] = d
	}
	for n, token := range m.Tokens {
		var t struct{ Keyslots []string }
		if err := json.Unmarshal(token, &t); err != nil {
			return fmt.Errorf("token %s: %w", n, err)
		}
		if !slices.Contains(t.Keyslots, name) {
			continue
		}
		left := slices.DeleteFunc(t.Keyslots, func(s string) bool { return s == name })
		if len(left) == 0 {
			delete(m.Tokens, n)
			continue
		}
		changed, err := withSlots(token, left...)
		if err != nil {
			return fmt.Errorf("token %s: %w", n, err)
		}
		m.Tokens[n] = changed
	}
	return nil
}

// withSlots sets a token's "keyslots".
func withSlots(token []byte, names ...string) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(token, &fields); err != nil {
		return nil, fmt.Errorf("parse token: %w", err)
	}
	if fields["type"] == nil {
		return nil, errors.New("parse token: no type")
	}
	slots, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	fields["keyslots"] = slots
	return json.Marshal(fields)
}
