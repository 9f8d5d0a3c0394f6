package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trust is whose certificates a node accepts. The zero Trust accepts none.
type Trust struct {
	authorities []*x509.Certificate
	lists       []*x509.RevocationList
}

// Identity is who a peer is.
type Identity struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Serial  string    `json:"serial"`
	Expires time.Time `json:"expires"`
}

// NewTrust checks that authorities are authorities, and that each list is one
// of theirs.
func NewTrust(authorities []*x509.Certificate, lists []*x509.RevocationList) (Trust, error) {
	for _, a := range authorities {
		if err := checkAuthority(a); err != nil {
			return Trust{}, fmt.Errorf("certificate of %s %w", a.Subject.CommonName, err)
		}
	}
	for _, l := range lists {
		if !slices.ContainsFunc(authorities, func(a *x509.Certificate) bool { return l.CheckSignatureFrom(a) == nil }) {
			return Trust{}, fmt.Errorf("revocation list of %s is signed by none of the authorities with it", l.Issuer.CommonName)
		}
	}
	return Trust{authorities, lists}, nil
}

func checkAuthority(c *x509.Certificate) error {
	if !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("is not an authority's")
	}
	return approved(c)
}

// Verify decides about the certificates that a peer presented in a handshake,
// its own first. The error says what is wrong with them in one line.
func (t Trust) Verify(peer []*x509.Certificate, now time.Time) (Identity, error) {
	if len(peer) == 0 {
		return Identity{}, errors.New("no client certificate")
	}
	c := peer[0]
	for _, check := range []func(*x509.Certificate, time.Time) error{checkUse, checkTime, t.checkChain, t.checkRevoked} {
		if err := check(c, now); err != nil {
			return Identity{}, fmt.Errorf("client certificate %s %w", describe(c), err)
		}
	}
	role, err := roleOf(c)
	if err != nil {
		return Identity{}, fmt.Errorf("client certificate %s %w", describe(c), err)
	}
	return Identity{c.Subject.CommonName, role, Serial(c.SerialNumber), c.NotAfter}, nil
}

// describe names a certificate; its name is the peer's word and not yet trusted.
func describe(c *x509.Certificate) string {
	return fmt.Sprintf("%.64q (serial %s)", c.Subject.CommonName, Serial(c.SerialNumber))
}

func checkUse(c *x509.Certificate, _ time.Time) error {
	if c.IsCA {
		return errors.New("is an authority's, expected a client's")
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) > 0 {
		return errors.New("is not for client authentication alone")
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature {
		return errors.New("is not for digital signatures alone")
	}
	return approved(c)
}

func checkTime(c *x509.Certificate, now time.Time) error {
	const format = time.DateTime + " MST"
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("is not valid before %s; it is %s here", c.NotBefore.UTC().Format(format), now.UTC().Format(format))
	case now.After(c.NotAfter):
		return fmt.Errorf("expired at %s; it is %s here", c.NotAfter.UTC().Format(format), now.UTC().Format(format))
	case c.NotAfter.Sub(c.NotBefore) > MaxLife+Skew:
		return fmt.Errorf("lives longer than %s", MaxLife)
	}
	return nil
}

// approved accepts the algorithms of FIPS 186-5 that this package uses.
func approved(c *x509.Certificate) error {
	if err := checkKey(c.PublicKey); err != nil {
		return fmt.Errorf("is not acceptable: %w", err)
	}
	if c.SignatureAlgorithm != x509.ECDSAWithSHA256 && c.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("is signed with %s, expected ECDSA with SHA-256 or SHA-384", c.SignatureAlgorithm)
	}
	return nil
}

// checkChain wants one of the authorities as the direct issuer.
func (t Trust) checkChain(c *x509.Certificate, now time.Time) error {
	_, err := c.Verify(x509.VerifyOptions{Roots: t.pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return fmt.Errorf("is from an authority that is not trusted here, %.64q", c.Issuer.CommonName)
	} else if err != nil {
		return fmt.Errorf("does not verify: %w", err)
	}
	return nil
}

func (t Trust) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range t.authorities {
		p.AddCert(a)
	}
	return p
}

// checkRevoked asks every list of the authority that issued the certificate.
func (t Trust) checkRevoked(c *x509.Certificate, _ time.Time) error {
	for _, a := range t.authorities {
		if c.CheckSignatureFrom(a) != nil {
			continue
		}
		for _, l := range t.lists {
			if hasSerial(l.RevokedCertificateEntries, c.SerialNumber) && l.CheckSignatureFrom(a) == nil {
				return errors.New("is revoked")
			}
		}
	}
	return nil
}

func roleOf(c *x509.Certificate) (Role, error) {
	if n := len(c.Subject.Organization); n != 1 {
		return "", fmt.Errorf("has %d organisations, expected one, the role: %.100q", n, strings.Join(c.Subject.Organization, ", "))
	}
	r, err := ParseRole(c.Subject.Organization[0])
	if err != nil {
		return "", fmt.Errorf("has no role as its organisation: %w", err)
	}
	return r, nil
}
