package seal

import (
	"bytes"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/rootfs/pcrsig"
)

// Registers that a secret is bound to.
const (
	kernelPCR     = 11
	secureBootPCR = 7
	bank          = "sha256"
)

// SecretSize is that of a secret, in bytes.
const SecretSize = 32

// Why a secret is not given away.
var (
	ErrOtherTPM = errors.New("the secret was sealed to another TPM")
	ErrCleared  = errors.New("the TPM was cleared, or got another storage root key, since the secret was sealed")
	ErrUnsigned = errors.New("no policy is signed by the key that the secret is sealed to")
)

// PCRError says that a register does not hold what it must.
type PCRError struct {
	PCR      int
	Expected []byte // nil: not known, only that it is none of the signed ones
	Found    []byte
}

func (e *PCRError) Error() string {
	if e.Expected == nil {
		return fmt.Sprintf("PCR %d is %x, for which there is no signed policy: another UKI, or a later phase of the boot", e.PCR, e.Found)
	}
	return fmt.Sprintf("PCR %d is %x, the secret was sealed to %x", e.PCR, e.Found, e.Expected)
}

// Sealed is a secret that only the TPM can open. Nothing in it is secret.
type Sealed struct {
	Private, Public []byte         // TPM2B_PRIVATE and TPM2B_PUBLIC, with their sizes
	Key             *rsa.PublicKey // the policy key
	SRK             []byte         // TPM2B_PUBLIC of the SRK, with its size
	PCR7            []byte         // its value at the sealing; nil: not known
	EK              []byte         // name of the endorsement key; nil: not known
}

// Passphrase is the LUKS2 passphrase that a secret stands for.
func Passphrase(secret []byte) []byte {
	text := make([]byte, base64.StdEncoding.EncodedLen(len(secret)))
	base64.StdEncoding.Encode(text, secret)
	return text
}

// Seal seals a secret to signatures of the policy key and to a value of PCR 7:
// the present one (ReadPCR), or one that the next boot will have.
func Seal(t transport.TPM, key *rsa.PublicKey, pcr7, secret []byte) (*Sealed, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("seal secret: %d bytes, expected %d", len(secret), SecretSize)
	}
	srk, err := ensureSRK(t)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	policy, err := sealingPolicy(key, pcr7)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	created, err := tpm2.Create{
		ParentHandle: srk.auth(srk.session()),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy},
		}),
	}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	ek, err := endorsementName(t)
	if err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	return &Sealed{
		Private: tpm2.Marshal(created.OutPrivate), Public: tpm2.Marshal(created.OutPublic), Key: key,
		SRK: tpm2.Marshal(tpm2.New2B(srk.public)), PCR7: bytes.Clone(pcr7), EK: ek,
	}, nil
}

// Unseal gets the secret, which the caller wipes, with the policies that the
// running UKI brought. Errors: ErrOtherTPM, ErrCleared, ErrUnsigned, a PCRError,
// or one of the TPM's own.
func (s *Sealed) Unseal(t transport.TPM, policies []pcrsig.Policy) ([]byte, error) {
	secret, err := s.unseal(t, policies)
	if err != nil {
		return nil, fmt.Errorf("unseal secret: %w", err)
	}
	return secret, nil
}

func (s *Sealed) unseal(t transport.TPM, policies []pcrsig.Policy) ([]byte, error) {
	srk, err := ensureSRK(t)
	if err != nil {
		return nil, err
	}
	if err := s.checkTPM(t, srk); err != nil {
		return nil, err
	}
	approved, err := s.approved(t, policies)
	if err != nil {
		return nil, err
	}
	if err := s.checkPCR7(t); err != nil {
		return nil, err
	}
	object, err := s.load(t, srk)
	if err != nil {
		return nil, err
	}
	defer flush(t, object.Handle)
	session, end, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, nonceSize, srk.salt(), encryptOut())
	if err != nil {
		return nil, fmt.Errorf("start policy session: %w", err)
	}
	defer func() { _ = end() }() // it ends with the connection at the latest
	if err := s.satisfy(t, session.Handle(), approved); err != nil {
		return nil, err
	}
	object.Auth = session
	got, err := tpm2.Unseal{ItemHandle: object}.Execute(t)
	if err != nil {
		return nil, err
	}
	defer clear(got.OutData.Buffer)
	if len(got.OutData.Buffer) != SecretSize {
		return nil, fmt.Errorf("%d bytes, expected %d", len(got.OutData.Buffer), SecretSize)
	}
	return bytes.Clone(got.OutData.Buffer), nil
}

// checkTPM compares the TPM's storage root key with that of the sealing.
func (s *Sealed) checkTPM(t transport.TPM, srk *rootKey) error {
	if subtle.ConstantTimeCompare(tpm2.Marshal(tpm2.New2B(srk.public)), s.SRK) == 1 {
		return nil
	}
	ek, err := endorsementName(t)
	if err != nil {
		return err
	}
	if bytes.Equal(ek, s.EK) {
		return ErrCleared
	}
	return ErrOtherTPM
}

// approved finds the signed policy for what PCR 11 holds now.
func (s *Sealed) approved(t transport.TPM, policies []pcrsig.Policy) (pcrsig.Policy, error) {
	value, err := ReadPCR(t, kernelPCR)
	if err != nil {
		return pcrsig.Policy{}, err
	}
	want, err := pcrsig.PolicyPCR(bank, []int{kernelPCR}, value)
	if err != nil {
		return pcrsig.Policy{}, err
	}
	unsigned := error(ErrUnsigned)
	for _, p := range policies {
		if p.Bank != bank || len(p.PCRs) != 1 || p.PCRs[0] != kernelPCR {
			continue
		}
		if err := p.Verify(s.Key); err != nil {
			unsigned = fmt.Errorf("%w: %w", ErrUnsigned, err)
			continue
		}
		if p.Digest == want {
			return p, nil
		}
		unsigned = nil
	}
	if unsigned != nil {
		return pcrsig.Policy{}, unsigned
	}
	return pcrsig.Policy{}, &PCRError{PCR: kernelPCR, Found: value}
}

func (s *Sealed) checkPCR7(t transport.TPM) error {
	value, err := ReadPCR(t, secureBootPCR)
	if err != nil || s.PCR7 == nil || bytes.Equal(value, s.PCR7) {
		return err
	}
	return &PCRError{PCR: secureBootPCR, Expected: s.PCR7, Found: value}
}

func (s *Sealed) load(t transport.TPM, srk *rootKey) (tpm2.AuthHandle, error) {
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](s.Private)
	if err != nil {
		return tpm2.AuthHandle{}, fmt.Errorf("parse sealed object: %w", err)
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return tpm2.AuthHandle{}, fmt.Errorf("parse sealed object: %w", err)
	}
	loaded, err := tpm2.Load{ParentHandle: srk.auth(srk.session()), InPrivate: *private, InPublic: *public}.Execute(t)
	if err != nil {
		return tpm2.AuthHandle{}, fmt.Errorf("load sealed object: %w", err)
	}
	return tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, nil
}

// flush frees an object's place in the TPM.
func flush(t transport.TPM, handle tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: handle}.Execute(t) // the resource manager does it at the latest
}

// ReadPCR reads a register of the bank sha256.
func ReadPCR(t transport.TPM, pcr int) ([]byte, error) {
	read, err := tpm2.PCRRead{PCRSelectionIn: selection(pcr)}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("read PCR %d: %w", pcr, err)
	}
	if len(read.PCRValues.Digests) != 1 {
		return nil, fmt.Errorf("read PCR %d: the TPM has no bank %s", pcr, bank)
	}
	return read.PCRValues.Digests[0].Buffer, nil
}

func selection(pcr int) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(uint(pcr))},
	}}
}
