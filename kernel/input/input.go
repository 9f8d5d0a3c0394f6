// Package input reads the power button from the kernel's input devices (evdev).
package input

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

const (
	eventSize = 24  // struct input_event on 64-bit: timeval, u16 type, u16 code, s32 value
	evKey     = 1   // EV_KEY
	keyPower  = 116 // KEY_POWER
)

// PowerButtons calls pressed for each press of a power button. It returns at
// once; how many devices it reads is returned too.
func PowerButtons(pressed func()) int {
	nodes, err := filepath.Glob("/dev/input/event*")
	if err != nil {
		return 0
	}
	n := 0
	for _, node := range nodes {
		f, err := os.Open(node)
		if err != nil {
			continue
		}
		n++
		go func() {
			defer f.Close()
			_ = read(f, pressed)
		}()
	}
	return n
}

func read(r io.Reader, pressed func()) error {
	buf := make([]byte, eventSize)
	for {
		if _, err := io.ReadFull(r, buf); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		kind := binary.NativeEndian.Uint16(buf[16:])
		code := binary.NativeEndian.Uint16(buf[18:])
		value := int32(binary.NativeEndian.Uint32(buf[20:]))
		if kind == evKey && code == keyPower && value == 1 {
			pressed()
		}
	}
}
