// Package pki is an operator's certificate authority for mutual TLS 1.3 between the command line and nodes.
//
// An authority is a directory, mode 0700, with keys of mode 0600:
//
//	ca.key                  the authority's key (PEM, PKCS #8)
//	ca.crt                  its certificate
//	ca.crl                  the serial numbers that it revoked, signed (RFC 5280)
//	clients/NAME/client.key
//	clients/NAME/client.crt
//	clients/NAME/SERIAL.crt certificates that were renewed before they expired
//
// A client certificate names a person or program in its common name and one
// Role in its organisation:
//
//	key        ECDSA on P-256 or P-384; signatures with SHA-256 or SHA-384
//	serial     128 random bits
//	life       24 hours, at most MaxLife; it begins Skew before it is issued
//	usage      digital signature; client authentication and nothing else
//
// What a node needs is the Trust: certificates of authorities and their
// revocation lists, in any order, as one PEM text. Trust.Verify is the whole
// decision about a peer, without I/O and without a clock of its own.
//
// # Decisions
//
// Renewing keeps the key, so that a certificate is replaced by one rename and
// a crash never leaves a key and a certificate that don't belong together.
// Whoever may have lost a key revokes the client, which means every certificate
// for that key that has not expired, and issues anew.
//
// Nodes refuse certificates that live longer than MaxLife. So a revocation may
// be forgotten MaxLife after it was made, and a list stays short.
//
// Revocation lists never go stale: a node that gets no news must stay
// reachable, and short lives are what limits the harm.
//
// Every key is used as a crypto.Signer: one in a token or an agent fits.
package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// How long things live.
const (
	DefaultLife   = 24 * time.Hour
	MaxLife       = 30 * 24 * time.Hour
	MinLife       = time.Minute
	AuthorityLife = 5 * 365 * 24 * time.Hour
	// Skew is how far a node's clock may be behind the authority's.
	Skew = 5 * time.Minute
)

// Role is what a client may do; it stands in the certificate's organisation.
type Role string

const (
	Reader   Role = "reader"   // sees everything but secrets
	Operator Role = "operator" // also starts, stops and reboots
	Admin    Role = "admin"    // also changes configuration and software
)

// Roles are all roles; each may do what those before it may.
func Roles() []Role { return []Role{Reader, Operator, Admin} }

// Allows reports whether a role includes another one. An unknown role
// includes nothing.
func (r Role) Allows(needed Role) bool {
	mine, theirs := slices.Index(Roles(), r), slices.Index(Roles(), needed)
	return theirs >= 0 && mine >= theirs
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	if slices.Contains(Roles(), Role(s)) {
		return Role(s), nil
	}
	return "", fmt.Errorf("role is %.64q, expected one of reader, operator, admin", s)
}

// checkName accepts what can be a common name and a directory.
func checkName(s string) error {
	for _, c := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@", c) {
			s = ""
		}
	}
	if s == "" || len(s) > 64 || strings.ContainsAny(s[:1], ".-") {
		return errors.New("expected a name of letters, digits, '.', '-', '_' and '@', up to 64 characters, that begins with none of '.' and '-'")
	}
	return nil
}

// Serial writes a serial number as 32 hexadecimal digits.
func Serial(n *big.Int) string { return fmt.Sprintf("%032x", n) }

// ParseSerial reads what Serial and openssl write.
func ParseSerial(s string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(s, ":", ""), 16)
	if !ok || n.Sign() <= 0 || n.BitLen() > 160 || strings.ContainsAny(s, "+_") {
		return nil, fmt.Errorf("serial number is %q, expected up to 40 hexadecimal digits", s)
	}
	return n, nil
}

// Fingerprint names a certificate's key: SHA-256 of its SubjectPublicKeyInfo,
// written as ssh writes keys. It outlives a new certificate for the same key.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// ParseFingerprint checks what was written as a fingerprint.
func ParseFingerprint(s string) (string, error) {
	digest, ok := strings.CutPrefix(s, "SHA256:")
	sum, err := base64.RawStdEncoding.Strict().DecodeString(digest)
	if !ok || err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("fingerprint is %q, expected SHA256: and 43 characters", s)
	}
	return s, nil
}

// Warning says that a certificate should be renewed soon, or is ""; at is the
// time for which it is asked.
func Warning(c *x509.Certificate, at time.Time) string {
	left, life := c.NotAfter.Sub(at), c.NotAfter.Sub(c.NotBefore)
	until := c.NotAfter.UTC().Format(time.DateTime + " MST")
	switch {
	case left < 0:
		return "expired " + roughly(-left) + " ago, at " + until
	case c.IsCA && left < 90*24*time.Hour, !c.IsCA && left < life/4:
		return "expires in " + roughly(left) + ", at " + until
	}
	return ""
}

// roughly writes a duration in its largest unit that counts at least two.
func roughly(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
