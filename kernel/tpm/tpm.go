// Package tpm opens the machine's TPM 2.0, /dev/tpmrm0, and extends its PCRs.
package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

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
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("open TPM: %w", err)
	}
	return &conn{fd: fd, limit: commandLimit}, nil
}

// commandLimit is how long a TPM may take for one command. The kernel itself
// waits for minutes.
const commandLimit = 30 * time.Second

// ErrStuck means that the TPM has not answered in time; it gets no more commands
// through this connection.
var ErrStuck = errors.New("the TPM does not answer")

// conn speaks to the kernel's resource manager: one write is a command, one
// read its response. go-tpm's own transport would link its legacy API. The
// descriptor does not block, and is polled here: to the runtime's poller the
// empty read of a TPM that still works would be the end of the file.
type conn struct {
	fd    int
	limit time.Duration
	stuck bool
}

const maxResponse = 4096

// Send implements transport.TPM.
func (c *conn) Send(command []byte) ([]byte, error) {
	if c.stuck {
		return nil, ErrStuck
	}
	if _, err := unix.Write(c.fd, command); err != nil {
		return nil, err
	}
	if err := c.await(); err != nil {
		return nil, err
	}
	response := make([]byte, maxResponse)
	n, err := unix.Read(c.fd, response)
	return response[:max(n, 0)], err
}

// await waits for the response.
func (c *conn) await() error {
	for deadline := time.Now().Add(c.limit); ; {
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			c.stuck = true
			return fmt.Errorf("%w within %s", ErrStuck, c.limit)
		}
		ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(left))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// Close implements io.Closer. A descriptor whose TPM is stuck stays open: the
// kernel would wait for the TPM in close(2).
func (c *conn) Close() error {
	if c.stuck {
		return nil
	}
	return unix.Close(c.fd)
}

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
