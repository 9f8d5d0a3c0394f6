// Package dm makes, inspects and removes device-mapper devices through /dev/mapper/control.
//
// Structures and requests are those of include/uapi/linux/dm-ioctl.h.
package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	headerSize = unix.SizeofDmIoctl      // 312
	targetSize = unix.SizeofDmTargetSpec // 40
	maxReply   = 64 << 10
)

// Target is one line of a device's table; Start and Sectors count 512 bytes.
type Target struct {
	Start, Sectors uint64
	Type, Params   string
}

// Device is a device-mapper device.
type Device struct {
	Name         string
	Major, Minor uint32
}

// Node is the device's node as devtmpfs names it.
func (d Device) Node() string { return fmt.Sprintf("/dev/dm-%d", d.Minor) }

// Create makes a device, loads its table and resumes it. A device whose table
// does not load is removed again.
func Create(name, uuid string, readOnly bool, targets ...Target) (Device, error) {
	head, err := call(unix.DM_DEV_CREATE, name, uuid, 0, nil)
	if err != nil {
		return Device{}, fmt.Errorf("create dm device %s: %w", name, err)
	}
	dev := Device{name, unix.Major(head.Dev), unix.Minor(head.Dev)}
	var flags uint32
	if readOnly {
		flags = unix.DM_READONLY_FLAG
	}
	if _, err = call(unix.DM_TABLE_LOAD, name, "", flags, targets); err != nil {
		return Device{}, errors.Join(fmt.Errorf("load table of %s: %w", name, err), Remove(name))
	}
	if _, err = call(unix.DM_DEV_SUSPEND, name, "", flags, nil); err != nil {
		return Device{}, errors.Join(fmt.Errorf("resume %s: %w", name, err), Remove(name))
	}
	return dev, nil
}

// Remove destroys a device that is not in use.
func Remove(name string) error {
	if _, err := call(unix.DM_DEV_REMOVE, name, "", 0, nil); err != nil {
		return fmt.Errorf("remove dm device %s: %w", name, err)
	}
	return nil
}

// Table reads back the active table as the kernel holds it.
func Table(name string) ([]Target, error) { return status(name, unix.DM_STATUS_TABLE_FLAG) }

// Status reads each target's status line; for verity "V" is intact, "C" corrupt.
func Status(name string) ([]Target, error) { return status(name, 0) }

func status(name string, flags uint32) ([]Target, error) {
	buf := encode(name, "", flags, nil)
	buf = append(buf, make([]byte, maxReply-len(buf))...)
	header(buf).Data_size = maxReply
	if err := ioctl(unix.DM_TABLE_STATUS, buf); err != nil {
		return nil, fmt.Errorf("read status of %s: %w", name, err)
	}
	return decodeTargets(buf)
}

func call(request uintptr, name, uuid string, flags uint32, targets []Target) (unix.DmIoctl, error) {
	buf := encode(name, uuid, flags, targets)
	err := ioctl(request, buf)
	return *header(buf), err
}

func header(buf []byte) *unix.DmIoctl { return (*unix.DmIoctl)(unsafe.Pointer(&buf[0])) }

func encode(name, uuid string, flags uint32, targets []Target) []byte {
	size := headerSize
	for _, t := range targets {
		size += targetLen(t)
	}
	buf := make([]byte, size)
	h := header(buf)
	h.Version = [3]uint32{4, 0, 0}
	h.Data_size, h.Data_start = uint32(size), headerSize
	h.Flags, h.Target_count = flags, uint32(len(targets))
	copy(h.Name[:len(h.Name)-1], name)
	copy(h.Uuid[:len(h.Uuid)-1], uuid)
	at := buf[headerSize:]
	for _, t := range targets {
		binary.NativeEndian.PutUint64(at[0:], t.Start)
		binary.NativeEndian.PutUint64(at[8:], t.Sectors)
		binary.NativeEndian.PutUint32(at[20:], uint32(targetLen(t)))
		copy(at[24:39], t.Type)
		copy(at[targetSize:], t.Params)
		at = at[targetLen(t):]
	}
	return buf
}

// targetLen is the length of an encoded target: specification, parameters and
// their NUL, up to a multiple of eight.
func targetLen(t Target) int { return targetSize + (len(t.Params)+8)&^7 }

// decodeTargets reads a status reply. There each target's next field counts
// from the start of the data, not of the target.
func decodeTargets(buf []byte) ([]Target, error) {
	h := header(buf)
	if h.Flags&unix.DM_BUFFER_FULL_FLAG != 0 {
		return nil, fmt.Errorf("status is longer than %d bytes", maxReply)
	}
	if int(h.Data_start) > len(buf) {
		return nil, fmt.Errorf("status starts at byte %d of %d", h.Data_start, len(buf))
	}
	data := buf[h.Data_start:]
	var out []Target
	for at := 0; len(out) < int(h.Target_count); {
		if at < 0 || at+targetSize > len(data) {
			return nil, fmt.Errorf("target %d lies outside the reply", len(out))
		}
		b := data[at:]
		out = append(out, Target{
			Start:   binary.NativeEndian.Uint64(b[0:]),
			Sectors: binary.NativeEndian.Uint64(b[8:]),
			Type:    cstring(b[24:40]),
			Params:  cstring(b[targetSize:]),
		})
		at = int(binary.NativeEndian.Uint32(b[20:]))
	}
	return out, nil
}

func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func ioctl(request uintptr, buf []byte) error {
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&buf[0]))); errno != 0 {
		return errno
	}
	return nil
}
