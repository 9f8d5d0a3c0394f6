package input

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestRead(t *testing.T) {
	event := func(kind, code uint16, value int32) []byte {
		b := make([]byte, eventSize)
		binary.NativeEndian.PutUint16(b[16:], kind)
		binary.NativeEndian.PutUint16(b[18:], code)
		binary.NativeEndian.PutUint32(b[20:], uint32(value))
		return b
	}
	in := bytes.Join([][]byte{
		event(evKey, keyPower, 1), event(0, 0, 0), event(evKey, keyPower, 0), event(evKey, 30, 1),
	}, nil)
	n := 0
	if err := read(bytes.NewReader(in), func() { n++ }); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("%d presses, want 1", n)
	}
	if err := read(bytes.NewReader(in[:30]), func() {}); err == nil {
		t.Error("half an event was taken")
	}
}
