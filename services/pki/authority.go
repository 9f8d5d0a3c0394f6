package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Authority signs client certificates and revocation lists.
type Authority struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
}

// NewKey makes a key on P-256.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewAuthority makes an authority of a key.
func NewAuthority(name string, key crypto.Signer, life time.Duration, now time.Time) (*Authority, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("authority's name is %q: %w", name, err)
	}
	if life < 24*time.Hour || life > 4*AuthorityLife {
		return nil, fmt.Errorf("authority's life is %s, expected from 24h to %s", life, 4*AuthorityLife)
	}
	t, err := template(name, now, life)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	c, err := sign(t, t, key.Public(), key)
	return &Authority{c, key}, err
}

// Request asks for a client certificate.
type Request struct {
	Name   string
	Role   Role
	Public crypto.PublicKey
	Life   time.Duration
}

// Issue signs a client certificate.
func (a *Authority) Issue(r Request, now time.Time) (*x509.Certificate, error) {
	if err := errors.Join(checkName(r.Name), checkKey(r.Public)); err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", r.Name, err)
	}
	if _, err := ParseRole(string(r.Role)); err != nil {
		return nil, err
	}
	if r.Life < MinLife || r.Life > MaxLife {
		return nil, fmt.Errorf("issue certificate: life is %s, expected from %s to %s", r.Life, MinLife, MaxLife)
	}
	if left := a.Certificate.NotAfter.Sub(now); r.Life > left {
		return nil, fmt.Errorf("issue certificate: life is %s, but the authority's own certificate expires at %s; make a new authority",
			r.Life, a.Certificate.NotAfter.UTC().Format(time.DateTime+" MST"))
	}
	t, err := template(r.Name, now, r.Life)
	if err != nil {
		return nil, err
	}
	t.Subject.Organization = []string{string(r.Role)}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return sign(t, a.Certificate, r.Public, a.Signer)
}

// Renew signs a certificate for the name, role and key of one that this
// authority issued. That it has expired is no hindrance.
func (a *Authority) Renew(old *x509.Certificate, life time.Duration, now time.Time) (*x509.Certificate, error) {
	if err := old.CheckSignatureFrom(a.Certificate); err != nil {
		return nil, fmt.Errorf("renew certificate of %s: it is from another authority, %s", old.Subject.CommonName, old.Issuer.CommonName)
	}
	role, err := roleOf(old)
	if err != nil {
		return nil, fmt.Errorf("renew certificate of %s: %w", old.Subject.CommonName, err)
	}
	return a.Issue(Request{old.Subject.CommonName, role, old.PublicKey, life}, now)
}

// Revoke adds serial numbers to a list, which may be nil, and signs it anew.
// Entries of certificates that have expired since are left out.
func (a *Authority) Revoke(old *x509.RevocationList, serials []*big.Int, now time.Time) (*x509.RevocationList, error) {
	number := big.NewInt(1)
	var entries []x509.RevocationListEntry
	if old != nil {
		number.Add(old.Number, number)
		entries = slices.Clone(old.RevokedCertificateEntries)
	}
	for _, s := range serials {
		if !hasSerial(entries, s) {
			entries = append(entries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now})
		}
	}
	entries = slices.DeleteFunc(entries, func(e x509.RevocationListEntry) bool {
		return now.Sub(e.RevocationTime) > MaxLife+Skew
	})
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: number, RevokedCertificateEntries: entries,
		ThisUpdate: now.Add(-Skew), NextUpdate: a.Certificate.NotAfter,
	}, a.Certificate, a.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	return x509.ParseRevocationList(der)
}

func hasSerial(entries []x509.RevocationListEntry, serial *big.Int) bool {
	return slices.ContainsFunc(entries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 })
}

func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-Skew),
		NotAfter:     now.Add(life),
	}, nil
}

func sign(t, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// checkKey accepts the keys that a client and an authority may have.
func checkKey(public crypto.PublicKey) error {
	if k, ok := public.(*ecdsa.PublicKey); ok && (k.Curve == elliptic.P256() || k.Curve == elliptic.P384()) {
		return nil
	}
	return fmt.Errorf("key is %s, expected ECDSA on P-256 or P-384", keyType(public))
}

func keyType(public crypto.PublicKey) string {
	if k, ok := public.(*ecdsa.PublicKey); ok {
		return "ECDSA on " + k.Curve.Params().Name
	}
	return fmt.Sprintf("a %T", public)
}
