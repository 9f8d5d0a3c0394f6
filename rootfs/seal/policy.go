package seal

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/rootfs/pcrsig"
)

// keyArea is the policy key as a TPM's object. Its attributes, and that the
// usual exponent is not written as zero, are systemd's: they are part of the
// key's name, and so of the policy.
func keyArea(key *rsa.PublicKey) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{Decrypt: true, SignEncrypt: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme:    tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull},
			KeyBits:   tpm2.TPMKeyBits(key.Size() * 8), Exponent: uint32(key.E),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()}),
	}
}

// sealingPolicy computes the digest of the policy of the package's doc.
func sealingPolicy(key *rsa.PublicKey, pcr7 []byte) ([]byte, error) {
	if len(pcr7) != sha256.Size {
		return nil, fmt.Errorf("PCR 7 with %d bytes, expected %d", len(pcr7), sha256.Size)
	}
	area := keyArea(key)
	name, err := tpm2.ObjectName(&area)
	if err != nil {
		return nil, err
	}
	policy, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if err := (tpm2.PolicyAuthorize{KeySign: *name}).Update(policy); err != nil {
		return nil, err
	}
	values := sha256.Sum256(pcr7)
	if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: values[:]}, Pcrs: selection(secureBootPCR)}).Update(policy); err != nil {
		return nil, err
	}
	return policy.Hash().Digest, nil
}

// satisfy leads a session through the policy.
func (s *Sealed) satisfy(t transport.TPM, session tpm2.TPMHandle, approved pcrsig.Policy) error {
	if _, err := (tpm2.PolicyPCR{PolicySession: session, Pcrs: selection(kernelPCR)}).Execute(t); err != nil {
		return fmt.Errorf("policy of PCR %d: %w", kernelPCR, err)
	}
	ticket, name, err := verify(t, s.Key, approved)
	if err != nil {
		return err
	}
	_, err = tpm2.PolicyAuthorize{
		PolicySession: session, ApprovedPolicy: tpm2.TPM2BDigest{Buffer: approved.Digest[:]}, KeySign: *name, CheckTicket: *ticket,
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("authorize policy: %w", err)
	}
	if _, err := (tpm2.PolicyPCR{PolicySession: session, Pcrs: selection(secureBootPCR)}).Execute(t); err != nil {
		return fmt.Errorf("policy of PCR %d: %w", secureBootPCR, err)
	}
	return s.checkDigest(t, session)
}

// checkDigest sees a policy that leads elsewhere before the TPM refuses it
// without saying why.
func (s *Sealed) checkDigest(t transport.TPM, session tpm2.TPMHandle) error {
	object, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return err
	}
	public, err := object.Contents()
	if err != nil {
		return err
	}
	got, err := tpm2.PolicyGetDigest{PolicySession: session}.Execute(t)
	if err != nil {
		return err
	}
	if !bytes.Equal(got.PolicyDigest.Buffer, public.AuthPolicy.Buffer) {
		return errors.New("the secret is sealed to another policy: other registers, another key, or another PCR 7")
	}
	return nil
}

// verify has the TPM check a signature; its ticket says that it did.
func verify(t transport.TPM, key *rsa.PublicKey, p pcrsig.Policy) (*tpm2.TPMTTKVerified, *tpm2.TPM2BName, error) {
	loaded, err := tpm2.LoadExternal{InPublic: tpm2.New2B(keyArea(key)), Hierarchy: tpm2.TPMRHOwner}.Execute(t)
	if err != nil {
		return nil, nil, fmt.Errorf("load policy key: %w", err)
	}
	defer flush(t, loaded.ObjectHandle)
	digest := sha256.Sum256(p.Digest[:])
	verified, err := tpm2.VerifySignature{
		KeyHandle: loaded.ObjectHandle, Digest: tpm2.TPM2BDigest{Buffer: digest[:]},
		Signature: tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
			Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: p.Signature},
		})},
	}.Execute(t)
	if err != nil {
		return nil, nil, fmt.Errorf("verify policy's signature: %w", err)
	}
	return &verified.Validation, &loaded.Name, nil
}
