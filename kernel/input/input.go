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

// Button is an input device that may have a power button.
type Button struct{ f *os.File }

// PowerButtons opens every input device.
func PowerButtons() (buttons []Button) {
	nodes, err := filepath.Glob("/dev/input/event*")
	if err != nil {
		return nil
	}
	for _, node := range nodes {
		if f, err := os.Open(node); err == nil {
			buttons = append(buttons, Button{f})
		}
	}
	return buttons
}

// Watch calls pressed for each press, until the device is gone.
func (b Button) Watch(pressed func()) {
	defer b.f.Close()
	_ = read(b.f, pressed)
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
