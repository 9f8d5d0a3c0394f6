package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// base are the settings of both sides: TLS 1.3, and of what it can use, what
// FIPS 140-3 approves.
func base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{
			tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.CurveP256, tls.CurveP384,
		},
	}
}

// checkSuite refuses the one cipher suite of TLS 1.3 that is not AES-GCM;
// crypto/tls has no setting for it.
func checkSuite(s tls.ConnectionState) error {
	if s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 && s.CipherSuite != tls.TLS_AES_256_GCM_SHA384 {
		return fmt.Errorf("cipher suite is %s, expected AES-GCM", tls.CipherSuiteName(s.CipherSuite))
	}
	return nil
}

// ServerConfig is a node's side. A peer without a certificate that trust verifies
// does not get through the handshake; identities outlive a connection no more
// than it does, so whoever serves requests verifies again at each.
func ServerConfig(own tls.Certificate, trust func() Trust, now func() time.Time) *tls.Config {
	c := base()
	c.Certificates = []tls.Certificate{own}
	c.ClientAuth = tls.RequireAnyClientCert
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := checkSuite(s); err != nil {
			return err
		}
		_, err := trust().Verify(s.PeerCertificates, now())
		return err
	}
	return c
}

// PinError refuses a node whose key is not the pinned one.
type PinError struct{ Want, Got string }

func (e *PinError) Error() string {
	return fmt.Sprintf("the node's key is %s, expected the pinned %s", e.Got, e.Want)
}

// Peer is how a client knows a node: by the fingerprint of its key or, where
// there is none, by an authority's word for its host name.
type Peer struct {
	Fingerprint string
	Authorities Trust
	Host        string
}

// ClientConfig is the operator's side.
func ClientConfig(own tls.Certificate, node Peer, now func() time.Time) *tls.Config {
	c := base()
	c.Certificates = []tls.Certificate{own}
	c.InsecureSkipVerify = true // VerifyConnection decides
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := checkSuite(s); err != nil {
			return err
		}
		return node.verify(s.PeerCertificates[0], now())
	}
	return c
}

func (p Peer) verify(c *x509.Certificate, now time.Time) error {
	if p.Fingerprint != "" {
		if got := Fingerprint(c); got != p.Fingerprint {
			return &PinError{p.Fingerprint, got}
		}
		return nil
	}
	if err := approved(c); err != nil {
		return fmt.Errorf("the node's certificate %w", err)
	}
	_, err := c.Verify(x509.VerifyOptions{
		Roots: p.Authorities.pool(), CurrentTime: now, DNSName: p.Host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err == nil {
		err = p.Authorities.checkRevoked(c, now)
	}
	if err != nil {
		return fmt.Errorf("the node's certificate is not acceptable, and no fingerprint is pinned: %w", err)
	}
	return nil
}

// ServingLife is how long a node's own certificate lives. Nobody checks it, but
// programs that know no fingerprints want one.
const ServingLife = 10 * 365 * 24 * time.Hour

// NewServing makes a node's own certificate, signed by its own key.
func NewServing(key crypto.Signer, names []string, addresses []netip.Addr, now time.Time) (*x509.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("make serving certificate: expected a host name")
	}
	t, err := template("", now, ServingLife)
	if err != nil {
		return nil, err
	}
	t.Subject = pkix.Name{CommonName: names[0][:min(len(names[0]), 64)]}
	t.DNSNames = slices.Clone(names)
	for _, a := range addresses {
		t.IPAddresses = append(t.IPAddresses, a.AsSlice())
	}
	t.NotBefore = t.NotBefore.Truncate(time.Second)
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make serving certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
