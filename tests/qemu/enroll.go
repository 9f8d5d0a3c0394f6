package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode/utf16"
)

// EnrolledVars returns firmware variables in which the Secure Boot keys of the
// disk's ESP are enrolled: dir/vars-<keyID>.fd. It makes them, when they are not
// there, by booting the disk once with empty ones: systemd-boot enrols what
// stands in loader/keys/auto and resets the machine.
func EnrolledVars(ctx context.Context, disk, keyID, dir string) (string, error) {
	path := filepath.Join(dir, "vars-"+keyID+".fd")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("enrol keys: %w", err)
	}
	vm, err := Start(ctx, Config{Disk: disk, NoNIC: true})
	if err != nil {
		return "", fmt.Errorf("enrol keys: %w", err)
	}
	defer vm.Close()
	exit, err := vm.Wait(ctx)
	if err != nil {
		return "", fmt.Errorf("enrol keys: %w", err)
	}
	if exit.Reason != GuestReset {
		return "", fmt.Errorf("enrol keys: machine ended by %s, expected %s\n%s", exit.Reason, GuestReset, vm.console.last(30))
	}
	if err := keep(vm.Vars(), path); err != nil {
		return "", fmt.Errorf("enrol keys: %w", err)
	}
	return path, vm.Close()
}

// keep puts a variable store with enrolled keys at path, whole or not at all.
func keep(vars, path string) error {
	content, err := os.ReadFile(vars)
	if err != nil {
		return err
	}
	for _, v := range secureBootVariables {
		if !bytes.Contains(content, v.stored()) {
			return fmt.Errorf("firmware variable %s is not set", v.name)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "vars-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// variable is a firmware variable and the end of its vendor GUID.
type variable struct {
	name string
	guid string
}

// PK and KEK stand under EFI_GLOBAL_VARIABLE, db under EFI_IMAGE_SECURITY_DATABASE_GUID.
var secureBootVariables = []variable{
	{"PK", "\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"},
	{"KEK", "\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"},
	{"db", "\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"},
}

// stored is how the firmware keeps a variable's GUID and name: the name follows
// the GUID, in UTF-16, terminated.
func (v variable) stored() []byte {
	b := []byte(v.guid)
	for _, u := range utf16.Encode([]rune(v.name + "\x00")) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}
