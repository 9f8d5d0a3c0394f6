package input

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func event(kind, code uint16, value int32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], uint32(value))
	return b
}

func down(code uint16) []byte { return event(evKey, code, 1) }
func up(code uint16) []byte   { return event(evKey, code, 0) }

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		events [][]byte
		want   []Press
	}{
		"power button":      {[][]byte{down(keyPower), event(0, 0, 0), up(keyPower), down(30)}, []Press{Power}},
		"ctrl-alt-del":      {[][]byte{down(keyLeftCtrl), down(keyLeftAlt), down(keyDelete), up(keyDelete)}, []Press{Restart}},
		"right-hand keys":   {[][]byte{down(keyRightAlt), down(keyRightCtrl), down(keyDelete)}, []Press{Restart}},
		"del held down":     {[][]byte{down(keyLeftCtrl), down(keyLeftAlt), down(keyDelete), event(evKey, keyDelete, 2)}, []Press{Restart}},
		"twice":             {[][]byte{down(keyLeftCtrl), down(keyLeftAlt), down(keyDelete), up(keyDelete), down(keyDelete)}, []Press{Restart, Restart}},
		"del alone":         {[][]byte{down(keyDelete)}, nil},
		"ctrl-del":          {[][]byte{down(keyLeftCtrl), down(keyDelete)}, nil},
		"alt was let go":    {[][]byte{down(keyLeftCtrl), down(keyLeftAlt), up(keyLeftAlt), down(keyDelete)}, nil},
		"del before alt":    {[][]byte{down(keyLeftCtrl), down(keyDelete), down(keyLeftAlt)}, nil},
		"no key event (SW)": {[][]byte{event(5, keyPower, 1)}, nil},
	} {
		var got []Press
		if err := read(bytes.NewReader(bytes.Join(c.events, nil)), func(p Press) { got = append(got, p) }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if err := read(bytes.NewReader(down(keyPower)[:9]), func(Press) {}); err == nil {
		t.Error("half an event was taken")
	}
}
