package seal

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const (
	// srkHandle is the storage root key's, TCG TPM v2.0 Provisioning Guidance 1.0, 7.8.
	srkHandle = tpm2.TPMHandle(0x81000001)
	nonceSize = 16
)

// srkTemplate is the key's, as systemd makes it: the TCG's, but with an empty
// unique field, so that it is another key than one made with zeros there.
func srkTemplate() tpm2.TPMTPublic {
	template := tpm2.ECCSRKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return template
}

// rootKey is a persistent storage root key.
type rootKey struct {
	public tpm2.TPMTPublic
	name   tpm2.TPM2BName // computed from public, not taken from the TPM
}

func newRootKey(area tpm2.TPM2BPublic) (*rootKey, error) {
	public, err := area.Contents()
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, err
	}
	a := public.ObjectAttributes
	if !a.Restricted || !a.Decrypt || !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || a.SignEncrypt {
		return nil, fmt.Errorf("the key at %#x is no storage root key", srkHandle)
	}
	return &rootKey{*public, *name}, nil
}

// ensureSRK finds the key, or makes it and gives it its handle.
func ensureSRK(t transport.TPM) (*rootKey, error) {
	read, err := tpm2.ReadPublic{ObjectHandle: srkHandle}.Execute(t)
	if err == nil {
		return newRootKey(read.OutPublic)
	}
	if !errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fmt.Errorf("read storage root key: %w", err)
	}
	created, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(srkTemplate())}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("make storage root key: %w", err)
	}
	defer flush(t, created.ObjectHandle)
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: created.ObjectHandle, Name: created.Name},
		PersistentHandle: srkHandle,
	}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("keep storage root key: %w", err)
	}
	return newRootKey(created.OutPublic)
}

// endorsementName is the name of the TPM's ECC endorsement key, which stays the
// same for the TPM's life.
func endorsementName(t transport.TPM) ([]byte, error) {
	created, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.ECCEKTemplate)}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("make endorsement key: %w", err)
	}
	flush(t, created.ObjectHandle)
	return created.Name.Buffer, nil
}

// auth uses the key as a parent.
func (k *rootKey) auth(session tpm2.Session) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: srkHandle, Name: k.name, Auth: session}
}

// Sessions encrypt the first parameter of a command, or of its response.
func encryptIn() tpm2.AuthOption  { return tpm2.AESEncryption(128, tpm2.EncryptIn) }
func encryptOut() tpm2.AuthOption { return tpm2.AESEncryption(128, tpm2.EncryptOut) }

// session is one for a single command, for which the key is the parent.
func (k *rootKey) session() tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, k.salt(), encryptIn())
}

// salt makes a session's keys known only to us and the TPM.
func (k *rootKey) salt() tpm2.AuthOption { return tpm2.Salted(srkHandle, k.public) }
