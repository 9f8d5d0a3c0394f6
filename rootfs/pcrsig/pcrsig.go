package pcrsig

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for the bank sha384
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Where the stub puts the sections .pcrsig and .pcrpkey.
const (
	File    = "/.extra/tpm2-pcr-signature.json"
	KeyFile = "/.extra/tpm2-pcr-public-key.pem"
)

// Policy is one signed policy.
type Policy struct {
	Bank      string // sha256 or sha384
	PCRs      []int
	Key       [32]byte // of the key: Fingerprint
	Digest    [32]byte
	Signature []byte
}

// algorithm is that of a bank: the TPM's name of it (TPM_ALG_ID), and ours.
type algorithm struct {
	id   uint16
	hash crypto.Hash
}

var algorithms = map[string]algorithm{"sha256": {0x000b, crypto.SHA256}, "sha384": {0x000c, crypto.SHA384}}

// PolicyPCR gives the digest of the policy that registers of a bank hold
// values, which are in the order of the registers' numbers.
func PolicyPCR(bank string, pcrs []int, values ...[]byte) ([32]byte, error) {
	bankAlgorithm, ok := algorithms[bank]
	if !ok || len(pcrs) != len(values) || !slices.IsSorted(pcrs) {
		return [32]byte{}, fmt.Errorf("make PCR policy: bank %q, registers %v, %d values", bank, pcrs, len(values))
	}
	selection := [3]byte{}
	for _, n := range pcrs {
		if n < 0 || n >= 8*len(selection) {
			return [32]byte{}, fmt.Errorf("make PCR policy: register %d, expected 0 to 23", n)
		}
		selection[n/8] |= 1 << (n % 8)
	}
	const commandPolicyPCR = 0x0000017f
	state := sha256.Sum256(slices.Concat(values...))
	b := make([]byte, sha256.Size)
	b = binary.BigEndian.AppendUint32(b, commandPolicyPCR)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, bankAlgorithm.id)
	b = append(append(b, byte(len(selection))), selection[:]...)
	return sha256.Sum256(append(b, state[:]...)), nil
}

// Sign signs a policy. The same key and policy give the same signature.
func Sign(key crypto.Signer, bank string, pcrs []int, values ...[]byte) (Policy, error) {
	public, isRSA := key.Public().(*rsa.PublicKey)
	if !isRSA {
		return Policy{}, fmt.Errorf("sign PCR policy: %T, expected an RSA key", key.Public())
	}
	policy, err := PolicyPCR(bank, pcrs, values...)
	if err != nil {
		return Policy{}, err
	}
	h := algorithms[bank].hash
	signature, err := key.Sign(rand.Reader, hashed(h, policy), h)
	if err != nil {
		return Policy{}, fmt.Errorf("sign PCR policy: %w", err)
	}
	return Policy{Bank: bank, PCRs: pcrs, Key: Fingerprint(public), Digest: policy, Signature: signature}, nil
}

// Verify checks a policy's signature.
func (p Policy) Verify(key *rsa.PublicKey) error {
	if p.Key != Fingerprint(key) {
		return fmt.Errorf("verify PCR policy: signed by key %x, expected %x", p.Key, Fingerprint(key))
	}
	a, ok := algorithms[p.Bank]
	if !ok {
		return fmt.Errorf("verify PCR policy: bank %q, expected sha256 or sha384", p.Bank)
	}
	if err := rsa.VerifyPKCS1v15(key, a.hash, hashed(a.hash, p.Digest), p.Signature); err != nil {
		return fmt.Errorf("verify PCR policy: %w", err)
	}
	return nil
}

func hashed(h crypto.Hash, policy [32]byte) []byte {
	state := h.New()
	state.Write(policy[:])
	return state.Sum(nil)
}

// entry is a policy in JSON.
type entry struct {
	PCRs []int  `json:"pcrs"`
	Key  string `json:"pkfp"`
	Pol  string `json:"pol"`
	Sig  string `json:"sig"`
}

// Encode renders policies as the content of the section.
func Encode(policies []Policy) ([]byte, error) {
	file := map[string][]entry{}
	for _, p := range policies {
		file[p.Bank] = append(file[p.Bank], entry{
			p.PCRs, hex.EncodeToString(p.Key[:]), hex.EncodeToString(p.Digest[:]), base64.StdEncoding.EncodeToString(p.Signature),
		})
	}
	return json.Marshal(file)
}

// Limits of a section: a UKI has a policy for each bank.
const (
	maxBytes    = 64 << 10
	maxPolicies = 64
)

// Parse reads the section's content. Banks that are not known are left out, the
// others are in the order of their names.
func Parse(data []byte) ([]Policy, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("parse PCR signatures: %d bytes, expected at most %d", len(data), maxBytes)
	}
	var file map[string][]entry
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("parse PCR signatures: %w", err)
	}
	var policies []Policy
	for _, bank := range []string{"sha256", "sha384"} {
		for i, e := range file[bank] {
			p, err := e.parse(bank)
			if err != nil {
				return nil, fmt.Errorf("parse PCR signatures: bank %s, entry %d: %w", bank, i, err)
			}
			policies = append(policies, p)
		}
	}
	if len(policies) > maxPolicies {
		return nil, fmt.Errorf("parse PCR signatures: %d policies, expected at most %d", len(policies), maxPolicies)
	}
	return policies, nil
}

func (e entry) parse(bank string) (Policy, error) {
	p := Policy{Bank: bank, PCRs: e.PCRs}
	if len(e.PCRs) == 0 || !slices.IsSorted(e.PCRs) || e.PCRs[0] < 0 || e.PCRs[len(e.PCRs)-1] > 23 {
		return p, fmt.Errorf("pcrs %v, expected register numbers from 0 to 23", e.PCRs)
	}
	if err := fixedHex(p.Key[:], e.Key); err != nil {
		return p, fmt.Errorf("pkfp: %w", err)
	}
	if err := fixedHex(p.Digest[:], e.Pol); err != nil {
		return p, fmt.Errorf("pol: %w", err)
	}
	var err error
	if p.Signature, err = base64.StdEncoding.DecodeString(e.Sig); err != nil {
		return p, fmt.Errorf("sig: %w", err)
	}
	if len(p.Signature) == 0 {
		return p, errors.New("sig: empty")
	}
	return p, nil
}

func fixedHex(to []byte, text string) error {
	b, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	if len(b) != len(to) {
		return fmt.Errorf("%d bytes, expected %d", len(b), len(to))
	}
	copy(to, b)
	return nil
}
