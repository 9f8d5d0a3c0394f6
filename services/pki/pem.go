package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Kinds of PEM blocks.
const (
	certificateBlock = "CERTIFICATE"
	listBlock        = "X509 CRL"
	keyBlock         = "PRIVATE KEY"
)

// maxBlocks bounds what a bundle may hold.
const maxBlocks = 64

// EncodeCertificate writes a certificate as PEM.
func EncodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})
}

// EncodeList writes a revocation list as PEM.
func EncodeList(l *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: listBlock, Bytes: l.Raw})
}

// EncodeKey writes a private key as PEM, PKCS #8.
func EncodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), err
}

// ParseKey reads what EncodeKey wrote.
func ParseKey(data []byte) (crypto.Signer, error) {
	b, rest := pem.Decode(data)
	switch {
	case b == nil:
		return nil, errors.New("is not PEM, expected a private key")
	case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["Proc-Type"] != "":
		return nil, errors.New("is an encrypted key, which is not supported; decrypt it with: openssl pkcs8 -topk8 -nocrypt")
	case b.Type == "EC PRIVATE KEY" || b.Type == "RSA PRIVATE KEY" || b.Type == "EC PARAMETERS":
		return nil, fmt.Errorf("holds %s, expected PKCS #8 (%s); convert it with: openssl pkcs8 -topk8 -nocrypt", b.Type, keyBlock)
	case b.Type != keyBlock:
		return nil, fmt.Errorf("holds %s, expected %s", b.Type, keyBlock)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("holds more than one private key")
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, errors.New("is damaged: it is not PKCS #8")
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("holds a %T, which cannot sign", k)
	}
	return s, checkKey(s.Public())
}

// ParseCertificate reads PEM with exactly one certificate.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	certificates, lists, err := parseBundle(data)
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 || len(lists) != 0 {
		return nil, fmt.Errorf("holds %d certificates and %d revocation lists, expected one certificate", len(certificates), len(lists))
	}
	return certificates[0], nil
}

// ParseTrust reads authorities' certificates and their revocation lists from PEM.
func ParseTrust(data []byte) (Trust, error) {
	certificates, lists, err := parseBundle(data)
	if err != nil {
		return Trust{}, err
	}
	if len(certificates) == 0 {
		return Trust{}, errors.New("holds no certificate, expected an authority's")
	}
	return NewTrust(certificates, lists)
}

func parseBundle(data []byte) (certificates []*x509.Certificate, lists []*x509.RevocationList, err error) {
	for n := 1; len(bytes.TrimSpace(data)) > 0; n++ {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return nil, nil, errors.New("is not PEM, expected certificates")
		}
		if n > maxBlocks {
			return nil, nil, fmt.Errorf("holds more than %d blocks", maxBlocks)
		}
		switch b.Type {
		case certificateBlock:
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("certificate %d is damaged: %w", n, err)
			}
			certificates = append(certificates, c)
		case listBlock:
			l, err := x509.ParseRevocationList(b.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("revocation list %d is damaged: %w", n, err)
			}
			lists = append(lists, l)
		default:
			return nil, nil, fmt.Errorf("holds %.64q, expected certificates and revocation lists", b.Type)
		}
	}
	return certificates, lists, nil
}

// Pair puts a certificate and its key together for TLS.
func Pair(c *x509.Certificate, k crypto.Signer) (tls.Certificate, error) {
	if !match(k, c) {
		return tls.Certificate{}, fmt.Errorf("the key does not belong to the certificate of %s", c.Subject.CommonName)
	}
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: k, Leaf: c}, nil
}

// match reports whether a key belongs to a certificate.
func match(k crypto.Signer, c *x509.Certificate) bool {
	public, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}
