package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"holdfast/rootfs/pcrsig"
)

// TokenType is that of LUKS2 tokens which hold a Sealed.
const TokenType = "systemd-tpm2"

// token is the JSON of systemd-cryptenroll 257, and our own members.
type token struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Blob       octets   `json:"tpm2-blob"` // TPM2B_PRIVATE, TPM2B_PUBLIC
	PCRs       []int    `json:"tpm2-pcrs"`
	Bank       string   `json:"tpm2-pcr-bank"`
	PrimaryAlg string   `json:"tpm2-primary-alg"`
	PolicyHash hexText  `json:"tpm2-policy-hash"`
	PIN        bool     `json:"tpm2-pin"`
	PubkeyPCRs []int    `json:"tpm2_pubkey_pcrs"`
	Pubkey     octets   `json:"tpm2_pubkey"` // PEM
	SRK        octets   `json:"tpm2_srk"`    // ESYS_TR, serialized
	PCR7       hexText  `json:"holdfast-pcr7,omitempty"`
	EK         hexText  `json:"holdfast-ek,omitempty"`
}

type octets []byte

// MarshalText implements encoding.TextMarshaler.
func (o octets) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(o)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = base64.StdEncoding.DecodeString(string(text))
	return err
}

type hexText []byte

// MarshalText implements encoding.TextMarshaler.
func (h hexText) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexText) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Token renders a Sealed as a LUKS2 token; its key slots are for the volume to set.
func (s *Sealed) Token() ([]byte, error) {
	policy, err := s.policyHash()
	if err != nil {
		return nil, fmt.Errorf("render token: %w", err)
	}
	srk, err := s.rootKey()
	if err != nil {
		return nil, fmt.Errorf("render token: %w", err)
	}
	return json.Marshal(token{
		Type: TokenType, Keyslots: []string{}, Blob: slices.Concat(s.Private, s.Public), PCRs: []int{secureBootPCR}, Bank: bank,
		PrimaryAlg: "ecc", PolicyHash: policy, PubkeyPCRs: []int{kernelPCR}, Pubkey: pcrsig.EncodePublicKey(s.Key),
		SRK: resource(srk, s.SRK), PCR7: s.PCR7, EK: s.EK,
	})
}

// ParseToken reads a token that Token made, or systemd-cryptenroll with the
// same registers.
func ParseToken(data []byte) (*Sealed, error) {
	var t token
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("parse token: %w", err)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("parse token: %w", err)
	}
	s := &Sealed{PCR7: t.PCR7, EK: t.EK}
	var err error
	if s.Private, s.Public, err = cutBlob(t.Blob); err != nil {
		return nil, fmt.Errorf("parse token: tpm2-blob: %w", err)
	}
	if s.SRK, err = cutResource(t.SRK); err != nil {
		return nil, fmt.Errorf("parse token: tpm2_srk: %w", err)
	}
	if s.Key, err = pcrsig.ParsePublicKey(t.Pubkey); err != nil {
		return nil, fmt.Errorf("parse token: tpm2_pubkey: %w", err)
	}
	policy, err := s.policyHash()
	if err != nil {
		return nil, fmt.Errorf("parse token: tpm2-blob: %w", err)
	}
	if !bytes.Equal(policy, t.PolicyHash) {
		return nil, fmt.Errorf("parse token: tpm2-policy-hash is %x, that of tpm2-blob %x", []byte(t.PolicyHash), policy)
	}
	return s, nil
}

func (t token) check() error {
	switch {
	case t.Type != TokenType:
		return fmt.Errorf("type %q, expected %q", t.Type, TokenType)
	case !slices.Equal(t.PCRs, []int{secureBootPCR}) || !slices.Equal(t.PubkeyPCRs, []int{kernelPCR}):
		return fmt.Errorf("PCRs %v and, signed, %v; expected 7 and 11", t.PCRs, t.PubkeyPCRs)
	case t.Bank != bank || t.PrimaryAlg != "ecc" || t.PIN:
		return fmt.Errorf("bank %q, algorithm %q, PIN %v; expected sha256, ecc and none", t.Bank, t.PrimaryAlg, t.PIN)
	case t.PCR7 != nil && len(t.PCR7) != 32:
		return fmt.Errorf("holdfast-pcr7 has %d bytes, expected 32", len(t.PCR7))
	}
	return nil
}

// policyHash is the policy of the sealed object itself.
func (s *Sealed) policyHash() ([]byte, error) {
	area, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return nil, err
	}
	public, err := area.Contents()
	if err != nil {
		return nil, err
	}
	return public.AuthPolicy.Buffer, nil
}

func (s *Sealed) rootKey() (*rootKey, error) {
	area, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.SRK)
	if err != nil {
		return nil, err
	}
	return newRootKey(*area)
}

// A serialized ESYS_TR of the TPM Software Stack, big endian:
//
//	u32 handle, u16 size and name, u32 type: 1 for a key, TPM2B_PUBLIC
const resourceKey = 1

func resource(srk *rootKey, area []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(srkHandle))
	b = append(b, tpm2.Marshal(srk.name)...)
	b = binary.BigEndian.AppendUint32(b, resourceKey)
	return append(b, area...)
}

func cutResource(b []byte) (area []byte, err error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != uint32(srkHandle) {
		return nil, fmt.Errorf("not at handle %#x", uint32(srkHandle))
	}
	_, b, err = cutSized(b[4:]) // the name, which the area gives anew
	if err != nil {
		return nil, err
	}
	if len(b) < 4 || binary.BigEndian.Uint32(b) != resourceKey {
		return nil, errors.New("not a key")
	}
	area, rest, err := cutSized(b[4:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	return area, err
}

func cutBlob(b []byte) (private, public []byte, err error) {
	if private, b, err = cutSized(b); err != nil {
		return nil, nil, err
	}
	public, rest, err := cutSized(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	return private, public, err
}

// cutSized takes a structure with a size in front off; the size stays with it.
func cutSized(b []byte) (sized, rest []byte, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errors.New("cut off")
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[:n], b[n:], nil
}
