// Package tpm extends PCRs of the machine's TPM 2.0 through /dev/tpmrm0.
package tpm

import (
	"crypto/sha256"
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
// hashed and extended into the PCR's SHA-256 bank (systemd-pcrphase's format).
func ExtendPhase(pcr int, phase string) error {
	// Not os.Open, which would make the file non-blocking: a read would then
	// return nothing while the TPM still works.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	if err != nil {
		return fmt.Errorf("open TPM: %w", err)
	}
	f := os.NewFile(uintptr(fd), device)
	defer f.Close()
	return extend(conn{f}, pcr, phase)
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

func extend(t transport.TPM, pcr int, phase string) error {
	digest := sha256.Sum256([]byte(phase))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]},
		}},
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("extend PCR %d with %q: %w", pcr, phase, err)
	}
	return nil
}
