package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a, err := NewAuthority(name, newKey(t, elliptic.P256()), AuthorityLife, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// forge signs a certificate that Issue would make, but for one change.
func (a *Authority) forge(t testing.TB, public crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	c, err := template("alice", now, DefaultLife)
	if err != nil {
		t.Fatal(err)
	}
	c.Subject.Organization = []string{"admin"}
	c.BasicConstraintsValid = true
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(c)
	}
	c, err = sign(c, a.Certificate, public, a.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerify(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "ours") // the same name, another key
	second := newAuthority(t, "second")
	key := newKey(t, elliptic.P256())
	public := key.Public()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &Authority{&x509.Certificate{Subject: pkix.Name{CommonName: "alice", Organization: []string{"admin"}}}, key}
	revoked := ours.forge(t, public, nil)
	list, err := ours.Revoke(nil, []*big.Int{big.NewInt(7), revoked.SerialNumber}, now)
	if err != nil {
		t.Fatal(err)
	}
	// The second authority revokes a serial number that is not its own.
	good := ours.forge(t, public, nil)
	foreign, err := second.Revoke(nil, []*big.Int{good.SerialNumber}, now)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := NewTrust([]*x509.Certificate{second.Certificate, ours.Certificate}, []*x509.RevocationList{foreign, list})
	if err != nil {
		t.Fatal(err)
	}
	set := func(change func(*x509.Certificate)) *x509.Certificate { return ours.forge(t, public, change) }
	for name, test := range map[string]struct {
		peer *x509.Certificate
		want string // "": accepted
	}{
		"good":            {good, ""},
		"second":          {second.forge(t, public, nil), ""},
		"P-384":           {ours.forge(t, newKey(t, elliptic.P384()).Public(), nil), ""},
		"none":            {nil, "no client certificate"},
		"expired":         {set(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), "expired at 2026-03-01 11:59:59 UTC; it is 2026-03-01 12:00:00 UTC here"},
		"not yet":         {set(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), "is not valid before 2026-03-01 12:00:01 UTC"},
		"wrong authority": {other.forge(t, public, nil), "is from an authority that is not trusted here"},
		"self-signed":     {self.forge(t, public, nil), "is from an authority that is not trusted here"},
		"authority":       {ours.Certificate, "is an authority's"},
		"server":          {set(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "is not for client authentication alone"},
		"server too":      {set(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), "is not for client authentication alone"},
		"any usage":       {set(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), "is not for client authentication alone"},
		"no usage":        {set(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "is not for client authentication alone"},
		"signs":           {set(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), "is not for digital signatures alone"},
		"two roles":       {set(func(c *x509.Certificate) { c.Subject.Organization = []string{"reader", "admin"} }), "has 2 organisations, expected one, the role: \"admin, reader\""},
		"no role":         {set(func(c *x509.Certificate) { c.Subject.Organization = nil }), "has 0 organisations"},
		"unknown role":    {set(func(c *x509.Certificate) { c.Subject.Organization = []string{"Admin"} }), `role is "Admin", expected one of reader, operator, admin`},
		"revoked":         {revoked, "is revoked"},
		"lives long":      {set(func(c *x509.Certificate) { c.NotAfter = now.Add(MaxLife + time.Minute) }), "lives longer than 720h0m0s"},
		"RSA":             {ours.forge(t, rsaKey.Public(), nil), "expected ECDSA on P-256 or P-384"},
		"Ed25519":         {ours.forge(t, edPublic, nil), "expected ECDSA on P-256 or P-384"},
		"P-521":           {ours.forge(t, newKey(t, elliptic.P521()).Public(), nil), "key is ECDSA on P-521"},
		"SHA-512":         {set(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 }), "is signed with ECDSA-SHA512"},
		"critical":        {set(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true}} }), "does not verify"},
	} {
		t.Run(name, func(t *testing.T) {
			var peer []*x509.Certificate
			if test.peer != nil {
				peer = []*x509.Certificate{test.peer, good}
			}
			id, err := trust.Verify(peer, now)
			if test.want == "" {
				if err != nil || id.Name != "alice" || id.Role != Admin || id.Serial != Serial(test.peer.SerialNumber) {
					t.Errorf("%+v, %v", id, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, %v, want %q", id, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

func TestVerifyWithoutTrust(t *testing.T) {
	a := newAuthority(t, "ours")
	if id, err := (Trust{}).Verify([]*x509.Certificate{a.forge(t, newKey(t, elliptic.P256()).Public(), nil)}, now); err == nil {
		t.Errorf("nobody is trusted, yet %+v is", id)
	}
}

// An authority that has expired vouches for nobody.
func TestVerifyExpiredAuthority(t *testing.T) {
	a := newAuthority(t, "ours")
	later := a.Certificate.NotAfter.Add(time.Hour)
	c := a.forge(t, newKey(t, elliptic.P256()).Public(), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = later.Add(-time.Hour), later.Add(time.Hour)
	})
	trust, err := NewTrust([]*x509.Certificate{a.Certificate}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := trust.Verify([]*x509.Certificate{c}, later); err == nil {
		t.Errorf("accepted %+v", id)
	}
}

func TestParseTrust(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	leaf := EncodeCertificate(a.forge(t, newKey(t, elliptic.P256()).Public(), nil))
	list := func(a *Authority) []byte {
		l, err := a.Revoke(nil, []*big.Int{big.NewInt(1)}, now)
		if err != nil {
			t.Fatal(err)
		}
		return EncodeList(l)
	}
	key, err := EncodeKey(newKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	cat := func(parts ...[]byte) string {
		var s strings.Builder
		for _, p := range parts {
			s.Write(p)
		}
		return s.String()
	}
	ca := EncodeCertificate(a.Certificate)
	for name, test := range map[string]struct{ data, want string }{
		"one":             {string(ca), ""},
		"list first":      {cat(list(a), ca), ""},
		"two":             {cat(ca, EncodeCertificate(b.Certificate), list(b), list(a)), ""},
		"nothing":         {" \n", "holds no certificate"},
		"list alone":      {string(list(a)), "holds no certificate"},
		"not its list":    {cat(ca, list(b)), "revocation list of b is signed by none"},
		"leaf":            {string(leaf), "certificate of alice is not an authority's"},
		"key":             {cat(ca, key), `holds "PRIVATE KEY", expected certificates`},
		"text":            {"hello", "is not PEM"},
		"text after":      {cat(ca, []byte("hello")), "is not PEM"},
		"damaged":         {strings.Replace(string(ca), "M", "N", 2), "certificate 1 is damaged"},
		"flood":           {strings.Repeat(string(ca), maxBlocks+1), "holds more than 64 blocks"},
		"damaged list":    {cat(ca, []byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")), "revocation list 2 is damaged"},
		"unknown content": {"-----BEGIN X-----\nAAAA\n-----END X-----\n", `holds "X", expected`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTrust([]byte(test.data))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func FuzzParseTrust(f *testing.F) {
	a := newAuthority(f, "a")
	l, err := a.Revoke(nil, []*big.Int{big.NewInt(1)}, now)
	if err != nil {
		f.Fatal(err)
	}
	c := a.forge(f, newKey(f, elliptic.P256()).Public(), nil)
	f.Add(append(EncodeCertificate(a.Certificate), EncodeList(l)...), c.Raw)
	f.Fuzz(func(t *testing.T, bundle, peer []byte) {
		trust, err := ParseTrust(bundle)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("not one line: %q", err)
		}
		leaf, perr := x509.ParseCertificate(peer)
		if perr != nil {
			return
		}
		if id, verr := trust.Verify([]*x509.Certificate{leaf}, now); verr == nil && err != nil {
			t.Errorf("no trust, yet %+v is accepted", id)
		}
	})
}

func TestAllows(t *testing.T) {
	for _, test := range []struct {
		have, need Role
		want       bool
	}{
		{Admin, Reader, true}, {Admin, Operator, true}, {Admin, Admin, true},
		{Operator, Reader, true}, {Operator, Operator, true}, {Operator, Admin, false},
		{Reader, Reader, true}, {Reader, Operator, false}, {Reader, Admin, false},
		{"", "", false}, {"", Reader, false}, {Admin, "", false}, {Admin, "root", false}, {"root", "root", false},
	} {
		if got := test.have.Allows(test.need); got != test.want {
			t.Errorf("%q for %q: %v", test.have, test.need, got)
		}
	}
}
