// Package efivar reads EFI variables from efivarfs.
package efivar

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Vendor GUIDs: UEFI specification 3.3, and systemd's Boot Loader Interface.
const (
	Global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	Loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

// Dir is where efivarfs is mounted.
const Dir = "/sys/firmware/efi/efivars"

// Read returns a variable's value without its four attribute bytes.
func Read(name, vendor string) ([]byte, error) {
	b, err := os.ReadFile(Dir + "/" + name + "-" + vendor)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("EFI variable %s is %d bytes, want at least 4", name, len(b))
	}
	return b[4:], nil
}

// SecureBoot tells whether the firmware enforces Secure Boot: the variable is
// on and the platform is not in set-up mode. Without EFI it is off.
func SecureBoot() bool {
	on, err := Read("SecureBoot", Global)
	if err != nil || len(on) != 1 || on[0] != 1 {
		return false
	}
	setup, err := Read("SetupMode", Global)
	return err == nil && len(setup) == 1 && setup[0] == 0
}

// String reads a variable that holds UTF-16LE text.
func String(name, vendor string) (string, error) {
	b, err := Read(name, vendor)
	if err != nil {
		return "", err
	}
	return decode(b), nil
}

// LoaderTime reads LoaderTimeInitUSec or LoaderTimeExecUSec in microseconds.
func LoaderTime(name string) (int64, error) {
	s, err := String(name, Loader)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(s, 10, 64)
}

func decode(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return strings.TrimRight(string(utf16.Decode(u)), "\x00")
}
