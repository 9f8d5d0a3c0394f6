package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lifetime is that of upstream's self-signed certificate.
const lifetime = 365 * 24 * time.Hour

// makeServingCertificate writes the self-signed certificate that kubelet would
// make itself, where it looks for it, with a P-256 key: upstream's RSA keys
// take most of a second under emulation. A node that joins a cluster has its
// certificate from the cluster.
func makeServingCertificate(args []string) error {
	dir := value(args, "--cert-dir=")
	if dir == "" || value(args, "--bootstrap-kubeconfig=") != "" {
		return nil
	}
	certFile, keyFile := filepath.Join(dir, "kubelet.crt"), filepath.Join(dir, "kubelet.key")
	if _, err := os.Stat(certFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cert, key, err := selfSigned(time.Now())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The certificate comes last and whole: it is what the next start looks for.
	// The directory is not on a disk, so that nothing has to be flushed.
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(certFile+".new", cert, 0o644); err != nil {
		return err
	}
	return os.Rename(certFile+".new", certFile)
}

// value returns what follows a flag's name.
func value(args []string, name string) string {
	i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, name) })
	if i < 0 {
		return ""
	}
	return args[i][len(name):]
}

// selfSigned returns a certificate and its key in PEM.
func selfSigned(now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host, "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	encode := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), nil
}
