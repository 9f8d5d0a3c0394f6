package pki

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newDirectory(t *testing.T, now time.Time) *Directory {
	t.Helper()
	d, err := Init(filepath.Join(t.TempDir(), "pki"), "test", newKey(t, elliptic.P256()), AuthorityLife, now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func issue(t *testing.T, d *Directory, name string, role Role, at time.Time) Client {
	t.Helper()
	c, err := d.Issue(Request{Name: name, Role: role, Life: DefaultLife}, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func revokeClient(t *testing.T, d *Directory, name string, at time.Time) []*big.Int {
	t.Helper()
	serials, err := d.Revocable(name, at)
	if err == nil {
		err = d.Revoke(serials, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return serials
}

// openssl runs the tool that everybody else will look at these files with.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

func TestOpenSSLAgrees(t *testing.T) {
	at := time.Now()
	d := newDirectory(t, at)
	c := issue(t, d, "alice", Operator, at)
	verify := func(file string) (string, error) {
		return openssl(t, "verify", "-x509_strict", "-purpose", "sslclient", "-crl_check", "-CAfile", d.file("ca.crt"), "-CRLfile", d.file("ca.crl"), file)
	}
	if out, err := verify(c.CertificateFile); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := openssl(t, "verify", "-purpose", "sslserver", "-CAfile", d.file("ca.crt"), c.CertificateFile); err == nil {
		t.Errorf("openssl takes it for a server's: %s", out)
	}
	for file, wants := range map[string][]string{
		c.CertificateFile: {
			"Subject: O = operator, CN = alice", "Issuer: CN = test", "Public-Key: (256 bit)", "ASN1 OID: prime256v1", "ecdsa-with-SHA256",
			"X509v3 Key Usage: critical\n                Digital Signature\n", "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n",
			"CA:FALSE", "X509v3 Authority Key Identifier",
		},
		d.file("ca.crt"): {"Subject: CN = test", "CA:TRUE, pathlen:0", "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"},
	} {
		out, err := openssl(t, "x509", "-noout", "-text", "-in", file)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s lacks %q:\n%s", file, want, out)
			}
		}
	}
	if out, err := openssl(t, "pkey", "-check", "-noout", "-in", c.KeyFile); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	revokeClient(t, d, "alice", at)
	if out, err := verify(c.CertificateFile); err == nil || !strings.Contains(out, "certificate revoked") {
		t.Errorf("revoked, yet openssl says %v: %s", err, out)
	}
	out, err := openssl(t, "crl", "-noout", "-text", "-CAfile", d.file("ca.crt"), "-in", d.file("ca.crl"))
	if err != nil || !strings.Contains(out, "verify OK") || !strings.Contains(out, strings.ToUpper(Serial(c.Certificate.SerialNumber))) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSerialsAreRandom(t *testing.T) {
	a := newAuthority(t, "a")
	key := newKey(t, elliptic.P256())
	seen, longest := map[string]bool{}, 0
	for range 50 {
		c, err := a.Issue(Request{"alice", Reader, key.Public(), DefaultLife}, now)
		if err != nil {
			t.Fatal(err)
		}
		s := Serial(c.SerialNumber)
		if seen[s] || len(s) != 32 {
			t.Fatalf("serial %s", s)
		}
		seen[s], longest = true, max(longest, c.SerialNumber.BitLen())
		if n, err := ParseSerial(s); err != nil || n.Cmp(c.SerialNumber) != 0 {
			t.Errorf("%s reads as %v, %v", s, n, err)
		}
	}
	if longest < 126 {
		t.Errorf("50 serials of at most %d bits", longest)
	}
	for _, s := range []string{"", "0", "-1", "xyz", "1_0", strings.Repeat("f", 41)} {
		if n, err := ParseSerial(s); err == nil {
			t.Errorf("%q reads as %v", s, n)
		}
	}
}

func TestModes(t *testing.T) {
	d := newDirectory(t, now)
	c := issue(t, d, "alice", Admin, now)
	for path, want := range map[string]os.FileMode{
		d.Path: 0o700, d.file("ca.key"): 0o600, d.file("clients"): 0o700, filepath.Dir(c.KeyFile): 0o700, c.KeyFile: 0o600,
	} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", path, st.Mode(), err, want)
		}
	}
}

func TestRenewKeepsIdentity(t *testing.T) {
	d := newDirectory(t, now)
	before := issue(t, d, "alice", Operator, now)
	later := now.Add(23 * time.Hour)
	after, err := d.Renew("alice", time.Hour*48, later)
	if err != nil {
		t.Fatal(err)
	}
	old, fresh := before.Certificate, after.Certificate
	if fresh.Subject.String() != old.Subject.String() || Fingerprint(fresh) != Fingerprint(old) {
		t.Errorf("%s %s became %s %s", old.Subject, Fingerprint(old), fresh.Subject, Fingerprint(fresh))
	}
	if fresh.SerialNumber.Cmp(old.SerialNumber) == 0 || !fresh.NotAfter.Equal(later.Add(48*time.Hour)) {
		t.Errorf("serial %s, expires %s", fresh.SerialNumber, fresh.NotAfter)
	}
	if read, err := d.Client("alice"); err != nil || !read.Certificate.Equal(fresh) {
		t.Errorf("on disk is %v, %v", read, err)
	}
	// Both are valid for another hour, and one revocation ends both.
	if serials := revokeClient(t, d, "alice", later); len(serials) != 2 {
		t.Fatalf("%v", serials)
	}
	trust, err := d.Trust()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{old, fresh} {
		if _, err := trust.Verify([]*x509.Certificate{c}, later); err == nil || !strings.Contains(err.Error(), "is revoked") {
			t.Errorf("%s: %v", Serial(c.SerialNumber), err)
		}
	}
	if _, err := d.Renew("alice", DefaultLife, later); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("a revoked certificate was renewed: %v", err)
	}
}

func TestEarlierCertificatesGo(t *testing.T) {
	d := newDirectory(t, now)
	issue(t, d, "alice", Operator, now)
	for day := range 5 {
		if _, err := d.Renew("alice", DefaultLife, now.Add(time.Duration(day)*24*time.Hour+23*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	earlier, err := d.earlier("alice")
	if err != nil || len(earlier) > 2 {
		t.Errorf("%d earlier certificates, %v", len(earlier), err)
	}
}

func TestRevocationsAreForgotten(t *testing.T) {
	a := newAuthority(t, "a")
	list, err := a.Revoke(nil, []*big.Int{big.NewInt(1), big.NewInt(1)}, now)
	if err != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Fatalf("%v, %v", list.RevokedCertificateEntries, err)
	}
	for _, test := range []struct {
		after time.Duration
		want  int
	}{{MaxLife, 2}, {MaxLife + Skew + time.Second, 1}} {
		next, err := a.Revoke(list, []*big.Int{big.NewInt(2)}, now.Add(test.after))
		if err != nil || len(next.RevokedCertificateEntries) != test.want || next.Number.Cmp(big.NewInt(2)) != 0 {
			t.Errorf("after %s: %d entries in list %s, %v", test.after, len(next.RevokedCertificateEntries), next.Number, err)
		}
	}
}

func TestTwoRevocationsAtOnce(t *testing.T) {
	d := newDirectory(t, now)
	other, err := Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Revoke([]*big.Int{big.NewInt(1)}, now); err != nil {
		t.Fatal(err)
	}
	if err := other.Revoke([]*big.Int{big.NewInt(2)}, now); err != nil { // opened before the first
		t.Fatal(err)
	}
	if !other.IsRevoked(big.NewInt(1)) || !other.IsRevoked(big.NewInt(2)) {
		t.Errorf("list has %v", other.Revoked.RevokedCertificateEntries)
	}
	unlock, err := d.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := other.Revoke(nil, now); err == nil || !strings.Contains(err.Error(), "at work") {
		t.Errorf("while another holds the lock: %v", err)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	d := newDirectory(t, now)
	c := issue(t, d, "alice", Operator, now)
	if _, err := Init(d.Path, "again", newKey(t, elliptic.P256()), AuthorityLife, now); err == nil || !strings.Contains(err.Error(), "not empty; nothing was changed") {
		t.Errorf("init: %v", err)
	}
	if _, err := d.Issue(Request{Name: "alice", Role: Admin, Life: DefaultLife}, now); err == nil || !strings.Contains(err.Error(), "renew it with") {
		t.Errorf("issue: %v", err)
	}
	if again, err := Open(d.Path); err != nil || !again.Certificate.Equal(d.Certificate) {
		t.Errorf("%v, %v", again, err)
	}
	if got, err := d.Client("alice"); err != nil || !got.Certificate.Equal(c.Certificate) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	a := newAuthority(t, "a")
	public := newKey(t, elliptic.P256()).Public()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		r    Request
		at   time.Time
		want string
	}{
		"longest":      {Request{"alice", Admin, public, MaxLife}, now, ""},
		"long":         {Request{"alice", Admin, public, MaxLife + 1}, now, "expected from 1m0s to 720h0m0s"},
		"short":        {Request{"alice", Admin, public, 0}, now, "expected from 1m0s"},
		"past the end": {Request{"alice", Admin, public, time.Hour}, a.Certificate.NotAfter.Add(-time.Minute), "make a new authority"},
		"role":         {Request{"alice", "root", public, time.Hour}, now, `role is "root"`},
		"no name":      {Request{"", Admin, public, time.Hour}, now, "expected a name"},
		"path":         {Request{"../alice", Admin, public, time.Hour}, now, "expected a name"},
		"hidden":       {Request{".alice", Admin, public, time.Hour}, now, "expected a name"},
		"option":       {Request{"-alice", Admin, public, time.Hour}, now, "expected a name"},
		"long name":    {Request{strings.Repeat("a", 65), Admin, public, time.Hour}, now, "expected a name"},
		"RSA":          {Request{"alice", Admin, rsaKey.Public(), time.Hour}, now, "expected ECDSA"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Issue(test.r, test.at)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// A broken or foreign file gives one line that names it.
func TestBrokenFiles(t *testing.T) {
	foreignKey, err := EncodeKey(newKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	p521, err := EncodeKey(newKey(t, elliptic.P521()))
	if err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t, "other")
	otherList, err := other.Revoke(nil, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind, body string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(body)}) }
	for name, test := range map[string]struct {
		file string
		data []byte
		want string
	}{
		"foreign key":         {"ca.key", foreignKey, "ca.key is not the key of "},
		"P-521":               {"ca.key", p521, "ca.key key is ECDSA on P-521, expected"},
		"no key":              {"ca.key", nil, "ca.key is not PEM, expected a private key"},
		"damaged key":         {"ca.key", block("PRIVATE KEY", "x"), "ca.key is damaged"},
		"SEC 1":               {"ca.key", block("EC PRIVATE KEY", "x"), "convert it with: openssl pkcs8"},
		"encrypted":           {"ca.key", block("ENCRYPTED PRIVATE KEY", "x"), "ca.key is an encrypted key"},
		"certificate":         {"ca.key", EncodeCertificate(other.Certificate), "ca.key holds CERTIFICATE, expected PRIVATE KEY"},
		"two keys":            {"ca.key", append(foreignKey, foreignKey...), "ca.key holds more than one"},
		"foreign certificate": {"ca.crt", EncodeCertificate(other.Certificate), "ca.crl is not signed by the authority"},
		"no certificate":      {"ca.crt", []byte("x"), "ca.crt is not PEM"},
		"no list":             {"ca.crl", nil, "ca.crl holds something else"},
		"foreign list":        {"ca.crl", EncodeList(otherList), "ca.crl is not signed by the authority"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t, now)
			if err := os.WriteFile(d.file(test.file), test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := Open(d.Path)
			if err == nil {
				_, err = d.Issue(Request{Name: "alice", Role: Admin, Life: DefaultLife}, now)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestKeyThatOthersCanRead(t *testing.T) {
	d := newDirectory(t, now)
	if err := os.Chmod(d.file("ca.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Issue(Request{Name: "alice", Role: Admin, Life: DefaultLife}, now); err == nil || !strings.Contains(err.Error(), "mode 0640), expected 0600; correct it with: chmod 600") {
		t.Errorf("%v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "make one with: holdfast pki init") {
		t.Errorf("%v", err)
	}
}

func TestWarning(t *testing.T) {
	a := newAuthority(t, "a")
	c := a.forge(t, newKey(t, elliptic.P256()).Public(), nil)
	for _, test := range []struct {
		c    *x509.Certificate
		at   time.Time
		want string
	}{
		{c, now, ""},
		{c, now.Add(17 * time.Hour), ""},
		{c, now.Add(19 * time.Hour), "expires in 5 hours, at 2026-03-02 12:00:00 UTC"},
		{c, c.NotAfter.Add(-90 * time.Second), "expires in 90 seconds, at"},
		{c, c.NotAfter.Add(50 * time.Hour), "expired 2 days ago, at"},
		{a.Certificate, now, ""},
		{a.Certificate, a.Certificate.NotAfter.Add(-89 * 24 * time.Hour), "expires in 89 days"},
	} {
		if got := Warning(test.c, test.at); (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("at %s: %q, want %q", test.at, got, test.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	f := Fingerprint(newAuthority(t, "a").Certificate)
	if got, err := ParseFingerprint(f); err != nil || got != f || len(f) != 50 {
		t.Errorf("%q, %v from %q", got, err, f)
	}
	for _, s := range []string{"", "SHA256:", f[1:], f + "=", f[:49], "MD5:" + f[7:]} {
		if _, err := ParseFingerprint(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	text, err := EncodeKey(newKey(f, elliptic.P256()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKey(data)
		if err == nil && checkKey(k.Public()) != nil {
			t.Errorf("accepted a %T", k.Public())
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("not one line: %q", err)
		}
	})
}
