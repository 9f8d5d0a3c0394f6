// Package authenticode signs EFI programs for Secure Boot, and hashes and verifies them as firmware does.
//
// The signature is a PKCS #7 SignedData over the SHA-256 of the program, in its
// certificate table, as Microsoft's Windows Authenticode Portable Executable
// Signature Format and the UEFI specification 2.10, 32.2, have it. It names the
// time of signing, so two signatures of the same program differ.
package authenticode

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/foxboron/go-uefi/authenticode"
)

// Sign returns the program with a signature added. The key is any signer that
// holds an RSA key, be it a file, a token or a service.
func Sign(image []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	public, isRSA := key.Public().(*rsa.PublicKey)
	switch {
	case !isRSA:
		return nil, fmt.Errorf("sign EFI program: %T, expected an RSA key", key.Public())
	case !public.Equal(cert.PublicKey):
		return nil, errors.New("sign EFI program: the key is not that of the certificate")
	}
	program, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("sign EFI program: %w", err)
	}
	if _, err := program.Sign(key, cert); err != nil {
		return nil, fmt.Errorf("sign EFI program: %w", err)
	}
	return program.Bytes(), nil
}

// Digest gives the hash functions of a program that firmware measures: the
// signature and what a signature changes are left out.
func Digest(image []byte) (func(crypto.Hash) []byte, error) {
	program, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("hash EFI program: %w", err)
	}
	return program.Hash, nil
}

// Verify checks that a program is signed by the key of a certificate itself,
// not by one below it.
func Verify(image []byte, cert *x509.Certificate) error {
	program, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("verify EFI program: %w", err)
	}
	ok, err := program.Verify(cert)
	if err == nil && !ok {
		err = errors.New("no signature of it")
	}
	if err != nil {
		return fmt.Errorf("verify EFI program with the certificate of %q: %w", cert.Subject.CommonName, err)
	}
	return nil
}
