// Package input reads the power button and ctrl-alt-del from the kernel's input devices (evdev).
package input

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// struct input_event of a 64-bit kernel (include/uapi/linux/input.h): timeval,
// u16 type, u16 code, s32 value.
const (
	eventSize = 24
	evKey     = 1 // EV_KEY: the value is 0 for a release, 1 for a press, 2 for a repeat
)

// Keys, from include/uapi/linux/input-event-codes.h.
const (
	keyLeftCtrl  = 29
	keyLeftAlt   = 56
	keyRightCtrl = 97
	keyRightAlt  = 100
	keyDelete    = 111
	keyPower     = 116
)

// Press is what somebody asked for at the machine.
type Press int

const (
	Power   Press = iota + 1 // the power button
	Restart                  // ctrl-alt-del: the kernel's own handling of it belongs to virtual terminals
)

// Device is an input device.
type Device struct{ f *os.File }

// Devices opens every input device that is there.
func Devices() (devices []Device) {
	nodes, err := filepath.Glob("/dev/input/event*")
	if err != nil {
		return nil
	}
	for _, node := range nodes {
		if f, err := os.Open(node); err == nil {
			devices = append(devices, Device{f})
		}
	}
	return devices
}

// Watch calls pressed for each press, until the device is gone.
func (d Device) Watch(pressed func(Press)) {
	defer d.f.Close()
	_ = read(d.f, pressed)
}

func read(r io.Reader, pressed func(Press)) error {
	var held keys
	buf := make([]byte, eventSize)
	for {
		if _, err := io.ReadFull(r, buf); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if binary.NativeEndian.Uint16(buf[16:]) != evKey {
			continue
		}
		if p := held.take(binary.NativeEndian.Uint16(buf[18:]), int32(binary.NativeEndian.Uint32(buf[20:]))); p != 0 {
			pressed(p)
		}
	}
}

// keys are the modifiers that are held down on one device.
type keys struct{ leftCtrl, rightCtrl, leftAlt, rightAlt bool }

// take follows one key and returns what was asked for with it, if anything.
func (k *keys) take(code uint16, value int32) Press {
	switch down := value != 0; code {
	case keyLeftCtrl:
		k.leftCtrl = down
	case keyRightCtrl:
		k.rightCtrl = down
	case keyLeftAlt:
		k.leftAlt = down
	case keyRightAlt:
		k.rightAlt = down
	case keyPower:
		if value == 1 {
			return Power
		}
	case keyDelete:
		if value == 1 && (k.leftCtrl || k.rightCtrl) && (k.leftAlt || k.rightAlt) {
			return Restart
		}
	}
	return 0
}
