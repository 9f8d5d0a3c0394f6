// Package tpm opens the machine's TPM 2.0, /dev/tpmrm0, and extends its PCRs.
package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"
)

const device = "/dev/tpmrm0"

// ErrNone means that the machine has no TPM 2.0.
var ErrNone = errors.New("no TPM 2.0")

// Version reads the TPM's major version, "2" for TPM 2.0; empty without a TPM.
func Version() string {
	b, err := os.ReadFile("/sys/class/tpm/tpm0/tpm_version_major")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ExtendPhase measures a boot phase: the word's bytes, without a NUL, are
// hashed and extended into every bank of the PCR (systemd-pcrphase's format).
func ExtendPhase(pcr int, phase string) error {
	c, err := Open()
	if err != nil {
		return err
	}
	defer c.Close()
	return extend(c, pcr, phase)
}

// Open opens the TPM. It is a transport of go-tpm's, which sessions and keys
// that are not closed or flushed do not outlive.
func Open() (transport.TPMCloser, error) {
	// Not os.Open, which would make the file non-blocking: a read would then
	// return nothing while the TPM still works.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("open TPM: %w", err)
	}
	return conn{os.NewFile(uintptr(fd), device)}, nil
}

// conn speaks to the kernel's resource manager: one write is a command, one
// read its response. go-tpm's own transport would link its legacy API.
type conn struct{ f *os.File }

const maxResponse = 4096

func (c conn) Send(command []byte) ([]byte, error) {
	if _, err := c.f.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, maxResponse)
	n, err := c.f.Read(response)
	return response[:n], err
}

// Close implements io.Closer.
func (c conn) Close() error { return c.f.Close() }

// extend lets the TPM do the hashing, so that no bank is left out: in a bank
// without the phases anyone could extend them later, and have what is sealed to
// the first.
func extend(t transport.TPM, pcr int, phase string) error {
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		EventData: tpm2.TPM2BEvent{Buffer: []byte(phase)},
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("extend PCR %d with %q: %w", pcr, phase, err)
	}
	return nil
}
