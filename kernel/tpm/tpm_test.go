package tpm

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"testing"

	"github.com/google/go-tpm/tpm2"

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
