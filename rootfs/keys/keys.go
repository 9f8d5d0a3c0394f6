// Package keys makes and loads the Secure Boot keys PK, KEK and db with the files that enrol them, and the policy key.
//
// A directory, mode 0700, holds for each of the three a private key (PEM,
// PKCS #8, mode 0600) and its self-signed certificate, and for the policy key its
// public part:
//
//	PK.key      PK.crt  (PEM)  PK.der
//	KEK.key     KEK.crt (PEM)  KEK.der
//	db.key      db.crt  (PEM)  db.der
//	policy.key  policy.pub (PEM, SubjectPublicKeyInfo)
//
// PK signs changes of PK and KEK, KEK those of db, and db the programs that
// firmware starts. The policy key signs what PCR 11 of a UKI may be for a TPM to
// give a secret away. Keys of a production line have the same form, or are
// signers that keep the private part elsewhere.
//
// # Decisions
//
// RSA with 2048 bits: UEFI requires firmware to know it, the TCG's PC Client
// profile a TPM, and neither a larger one.
package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Keys are a machine owner's.
type Keys struct {
	PK, KEK, DB Pair
	Policy      crypto.Signer
}

// Pair is a key and its certificate.
type Pair struct {
	Signer crypto.Signer
	Cert   *x509.Certificate
}

// Make makes development keys in dir, all or none, where there are none yet.
// Keys that are there are never replaced; a policy key is added to a set of the
// three that was made before there was one.
func Make(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if err := complete(dir); err != nil {
			return fmt.Errorf("make keys: %s is not empty: %w", dir, err)
		}
		return nil
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, ".keys-*")
	if err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	defer os.RemoveAll(fresh)
	for _, name := range []string{"PK", "KEK", "db"} {
		if err := makePair(fresh, name); err != nil {
			return fmt.Errorf("make key %s: %w", name, err)
		}
	}
	if err := makePolicy(fresh); err != nil {
		return fmt.Errorf("make key policy: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make keys: %w", err)
	}
	_, err = Load(dir) // possibly those of someone who was faster
	return err
}

func makePair(dir, name string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Holdfast development " + name},
		// Firmware does not look at the times, tools do; clocks may be behind.
		NotBefore:             time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2056, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		suffix string
		mode   fs.FileMode
		data   []byte
	}{
		{".key", 0o600, private},
		{".crt", 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		{".der", 0o644, der},
	} {
		if err := writeFile(filepath.Join(dir, name+f.suffix), f.data, f.mode); err != nil {
			return err
		}
	}
	return nil
}

func encodeKey(key *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// writeFile writes a file through to the disk: a rename of the directory must
// not survive a crash that its content does not.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// Load reads the keys in dir.
func Load(dir string) (*Keys, error) {
	k, err := loadPairs(dir)
	if err != nil {
		return nil, err
	}
	if k.Policy, err = loadPolicy(dir); err != nil {
		return nil, err
	}
	return k, nil
}

func loadPairs(dir string) (*Keys, error) {
	var k Keys
	for _, p := range []struct {
		name string
		pair *Pair
	}{{"PK", &k.PK}, {"KEK", &k.KEK}, {"db", &k.DB}} {
		var err error
		if *p.pair, err = loadPair(dir, p.name); err != nil {
			return nil, fmt.Errorf("load key %s: %w", p.name, err)
		}
	}
	return &k, nil
}

func loadPair(dir, name string) (Pair, error) {
	keyFile, certFile := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".crt")
	key, err := loadPrivate(keyFile)
	if err != nil {
		return Pair{}, err
	}
	der, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, fmt.Errorf("%s: %w", certFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return Pair{}, fmt.Errorf("%s: not the key of %s", keyFile, certFile)
	}
	return Pair{key, cert}, nil
}

func loadPrivate(file string) (*rsa.PrivateKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets others in, expected 0600", file, info.Mode().Perm())
	}
	der, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	private, isRSA := key.(*rsa.PrivateKey)
	if !isRSA {
		return nil, fmt.Errorf("%s: %T, expected an RSA key", file, key)
	}
	return private, nil
}

func readPEM(path, blockType string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != blockType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: expected one PEM block %q", path, blockType)
	}
	return block.Bytes, nil
}
