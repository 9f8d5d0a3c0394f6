package luks2

import (
	"bytes"
	"errors"
	"testing"
)

// opensWith tells whether a device opens with a passphrase, and leads to the key.
func opensWith(d Device, key []byte, passphrase string) bool {
	v, err := Open(d)
	if err != nil {
		return false
	}
	got, _, err := v.Unlock([]byte(passphrase))
	return err == nil && bytes.Equal(got, key)
}

// TestCutWhileFormatting: what is left is no volume, or a whole one.
func TestCutWhileFormatting(t *testing.T) {
	old := newMemory()
	_, oldKey := format(t, old)
	for name, start := range map[string]*memory{"empty": newMemory(), "old volume": old} {
		t.Run(name, func(t *testing.T) {
			r := record(start)
			v, key, err := Format(r, Options{UUID: testUUID, Slots: []Slot{slot("one", token("first")), slot("two", "")}})
			if err != nil {
				t.Fatal(err)
			}
			none, whole := 0, 0
			states := r.cuts(t, func(m *memory) {
				_, err := Open(m)
				switch {
				case errors.Is(err, ErrNone):
					none++
				case err == nil && opensWith(m, key, "one") && opensWith(m, key, "two"):
					whole++
				case name == "old volume" && opensWith(m, oldKey, "one") && opensWith(m, oldKey, "two"):
				default:
					t.Fatalf("neither none nor whole: %v", err)
				}
			})
			if none == 0 || whole == 0 || v.Sequence() != 1 {
				t.Errorf("%d states: %d none, %d whole", states, none, whole)
			}
			t.Logf("%d states: %d none, %d whole", states, none, whole)
		})
	}
}

// TestCutWhileEditing: the volume always opens with the old or the new key, and
// with the one that is not touched, and the edit can be done after all.
func TestCutWhileEditing(t *testing.T) {
	start := newMemory()
	_, key := format(t, start)
	tests := []struct {
		name        string
		edit        func(*Volume) error
		before, now string // passphrases
	}{
		{"add", func(v *Volume) error { return second(v.Add(key, slot("three", token("third")))) }, "one", "three"},
		{"kill", func(v *Volume) error { return v.Kill(0) }, "one", "two"},
		{"replace", func(v *Volume) error { return second(v.Replace(0, key, slot("three", token("third")))) }, "one", "three"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := record(start)
			v, err := Open(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.edit(v); err != nil {
				t.Fatal(err)
			}
			before, now := 0, 0
			states := r.cuts(t, func(m *memory) {
				was, is := opensWith(m, key, tt.before), opensWith(m, key, tt.now)
				if !was && !is || !opensWith(m, key, "two") {
					_, err := Open(m)
					t.Fatalf("it opens with neither key (%v)", err)
				}
				if was {
					before++
				}
				if is {
					now++
				}
				again(t, m, key)
			})
			if before == 0 || now == 0 {
				t.Errorf("%d states: %d open with the old key, %d with the new one", states, before, now)
			}
			t.Logf("%d states: %d open with the old key, %d with the new one", states, before, now)
		})
	}
}

// again kills all slots but the untouched one, as a later repair would.
func again(t *testing.T, m *memory, key []byte) {
	t.Helper()
	m = m.clone()
	v, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range v.Slots() {
		if n == 1 {
			continue
		}
		if err := v.Kill(n); err != nil {
			t.Fatal(err)
		}
	}
	opens(t, m, key, "two")
}
