package tpm

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/sys/unix"

	"holdfast/kernel/tpm/swtpm"
)

// TestExtendReachesEveryBank: what is not extended in one bank can be forged there.
func TestExtendReachesEveryBank(t *testing.T) {
	device := swtpm.NewDir(t).Start(t)
	for _, phase := range []string{"enter-initrd", "leave-initrd"} {
		if err := extend(device, 11, phase); err != nil {
			t.Fatal(err)
		}
	}
	for id, h := range map[tpm2.TPMAlgID]crypto.Hash{
		tpm2.TPMAlgSHA1: crypto.SHA1, tpm2.TPMAlgSHA256: crypto.SHA256, tpm2.TPMAlgSHA384: crypto.SHA384, tpm2.TPMAlgSHA512: crypto.SHA512,
	} {
		want := make([]byte, h.Size())
		for _, phase := range []string{"enter-initrd", "leave-initrd"} {
			digest, value := h.New(), h.New()
			digest.Write([]byte(phase))
			value.Write(append(want, digest.Sum(nil)...))
			want = value.Sum(nil)
		}
		read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: id, PCRSelect: tpm2.PCClientCompatible.PCRs(11)},
		}}}.Execute(device)
		if err != nil || len(read.PCRValues.Digests) != 1 || !bytes.Equal(read.PCRValues.Digests[0].Buffer, want) {
			t.Errorf("%v: %v, %v, want %x", h, read, err, want)
		}
	}
	if err := extend(device, 99, "x"); err == nil {
		t.Error("a PCR that is not there was extended")
	}
}

// TestConn speaks to a socket that keeps messages apart, as the device does.
func TestConn(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{fd: fds[0], limit: 10 * time.Second}
	if _, err := unix.Write(fds[1], []byte("response")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Send([]byte("command")); err != nil || string(got) != "response" {
		t.Errorf("%q, %v", got, err)
	}
	c.limit = time.Millisecond
	if got, err := c.Send([]byte("command")); !errors.Is(err, ErrStuck) || err.Error() != "the TPM does not answer within 1ms" {
		t.Errorf("%q, %v", got, err)
	}
	// Even when the response comes: it is that of another command.
	if _, err := unix.Write(fds[1], []byte("late")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Send([]byte("command")); !errors.Is(err, ErrStuck) {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Close(fds[0]); err != nil {
		t.Errorf("the stuck descriptor was closed: %v", err)
	}
	gone := &conn{fd: fds[1], limit: time.Second}
	if got, err := gone.Send([]byte("command")); err == nil {
		t.Errorf("%q of nobody", got)
	}
	if err := gone.Close(); err != nil {
		t.Error(err)
	}
}
