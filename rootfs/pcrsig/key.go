package pcrsig

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// subjectPublicKeyInfo is RFC 5280's, 4.1.
type subjectPublicKeyInfo struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue
	}
	Key asn1.BitString
}

// rsaPublicKey is RFC 8017's, A.1.1.
type rsaPublicKey struct {
	N *big.Int
	E int
}

const pemType = "PUBLIC KEY"

// rsaEncryption is the algorithm of RSA keys, whose parameters are NULL.
func rsaEncryption() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} }

// Fingerprint names a key: SHA-256 of its RSAPublicKey.
func Fingerprint(key *rsa.PublicKey) [32]byte { return sha256.Sum256(encodeKey(key)) }

// EncodePublicKey renders a key as the content of the section .pcrpkey.
func EncodePublicKey(key *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: encodeDER(key)})
}

func encodeKey(key *rsa.PublicKey) []byte {
	der, err := asn1.Marshal(rsaPublicKey{key.N, key.E})
	if err != nil {
		panic(err) // the types are fixed
	}
	return der
}

func encodeDER(key *rsa.PublicKey) []byte {
	inner := encodeKey(key)
	var info subjectPublicKeyInfo
	info.Algorithm.ID, info.Algorithm.Parameters = rsaEncryption(), asn1.NullRawValue
	info.Key = asn1.BitString{Bytes: inner, BitLength: 8 * len(inner)}
	der, err := asn1.Marshal(info)
	if err != nil {
		panic(err)
	}
	return der
}

// Sizes of keys: below is too weak, above no TPM takes.
const minBits, maxBits = 2048, 4096

// ParsePublicKey reads the section's content.
func ParsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("parse policy key: expected one PEM block %q", pemType)
	}
	key, err := decodeDER(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse policy key: %w", err)
	}
	return key, nil
}

func decodeDER(der []byte) (*rsa.PublicKey, error) {
	var info subjectPublicKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errors.Join(errors.New("not a public key"), err)
	}
	if !info.Algorithm.ID.Equal(rsaEncryption()) {
		return nil, fmt.Errorf("algorithm %v, expected RSA", info.Algorithm.ID)
	}
	var inner rsaPublicKey
	if rest, err := asn1.Unmarshal(info.Key.RightAlign(), &inner); err != nil || len(rest) > 0 {
		return nil, errors.Join(errors.New("not an RSA key"), err)
	}
	if bits := inner.N.BitLen(); inner.N.Sign() <= 0 || bits < minBits || bits > maxBits || inner.E < 3 || inner.E%2 == 0 {
		return nil, fmt.Errorf("RSA with %d bits and exponent %d, expected %d to %d bits and an odd one", inner.N.BitLen(), inner.E, minBits, maxBits)
	}
	return &rsa.PublicKey{N: inner.N, E: inner.E}, nil
}
