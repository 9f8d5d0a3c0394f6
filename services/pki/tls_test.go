package pki

import (
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// node serves one connection after the other and returns what each
// handshake ended with.
func node(t *testing.T, c *tls.Config) (addr string, results <-chan error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan error, 16)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			out <- conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Write([]byte("hello"))
			conn.Close()
		}
	}()
	return l.Addr().String(), out
}

func pair(t *testing.T, c *x509.Certificate, key any) tls.Certificate {
	t.Helper()
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

func talk(addr string, c *tls.Config) (string, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: c}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	return string(data), err
}

func TestHandshake(t *testing.T) {
	clock := func() time.Time { return now }
	a, stranger := newAuthority(t, "a"), newAuthority(t, "stranger")
	nodeKey, aliceKey := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	serving, err := NewServing(nodeKey, []string{"node-1"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, now)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := NewTrust([]*x509.Certificate{a.Certificate}, nil)
	if err != nil {
		t.Fatal(err)
	}
	current := make(chan Trust, 1)
	current <- trust
	addr, results := node(t, ServerConfig(pair(t, serving, nodeKey), func() Trust { t := <-current; current <- t; return t }, clock))
	pin := Fingerprint(serving)
	alice := a.forge(t, aliceKey.Public(), nil)
	with := func(c *x509.Certificate, change func(*tls.Config)) *tls.Config {
		conf := ClientConfig(pair(t, c, aliceKey), Peer{Fingerprint: pin}, clock)
		if change != nil {
			change(conf)
		}
		return conf
	}
	check := func(name string, c *tls.Config, want string) {
		t.Helper()
		said, err := talk(addr, c)
		seen := <-results
		if want == "" {
			if err != nil || said != "hello" {
				t.Errorf("%s: %q, %v; the node says %v", name, said, err, seen)
			}
		} else if said != "" || seen == nil || !strings.Contains(seen.Error(), want) {
			t.Errorf("%s: %q, %v; the node says %v, want %q", name, said, err, seen, want)
		}
	}
	check("good", with(alice, nil), "")
	check("no certificate", with(alice, func(c *tls.Config) { c.Certificates = nil }), "didn't provide a certificate")
	check("stranger", with(stranger.forge(t, aliceKey.Public(), nil), nil), "not trusted here")
	check("TLS 1.2", with(alice, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "unsupported versions")
	check("X25519", with(alice, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }), "key exchange")

	// Another key of the node's is refused before the client says anything.
	_, err = talk(addr, ClientConfig(pair(t, alice, aliceKey), Peer{Fingerprint: "SHA256:other"}, clock))
	if pinned, ok := errors.AsType[*PinError](err); !ok || pinned.Got != pin {
		t.Errorf("another pin: %v", err)
	}
	<-results

	// A revocation counts from the next connection on, without a restart.
	list, err := a.Revoke(nil, []*big.Int{alice.SerialNumber}, now)
	if err != nil {
		t.Fatal(err)
	}
	<-current
	revoking, err := NewTrust([]*x509.Certificate{a.Certificate}, []*x509.RevocationList{list})
	if err != nil {
		t.Fatal(err)
	}
	current <- revoking
	check("revoked", with(alice, nil), "is revoked")
}

// Without a pinned key, an authority's word for the host counts.
func TestPeerByAuthority(t *testing.T) {
	a, stranger := newAuthority(t, "a"), newAuthority(t, "stranger")
	public := newKey(t, elliptic.P256()).Public()
	server := func(c *x509.Certificate) {
		c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{"node-1"}
	}
	trust, err := NewTrust([]*x509.Certificate{a.Certificate}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		c    *x509.Certificate
		peer Peer
		want string
	}{
		"good":       {a.forge(t, public, server), Peer{Authorities: trust, Host: "node-1"}, ""},
		"wrong host": {a.forge(t, public, server), Peer{Authorities: trust, Host: "node-2"}, "valid for node-1, not node-2"},
		"stranger":   {stranger.forge(t, public, server), Peer{Authorities: trust, Host: "node-1"}, "unknown authority"},
		"client":     {a.forge(t, public, func(c *x509.Certificate) { c.DNSNames = []string{"node-1"} }), Peer{Authorities: trust, Host: "node-1"}, "incompatible key usage"},
		"neither":    {a.forge(t, public, server), Peer{Host: "node-1"}, "no fingerprint is pinned"},
	} {
		if err := test.peer.verify(test.c, now); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestCipherSuites(t *testing.T) {
	for suite, want := range map[uint16]bool{
		tls.TLS_AES_128_GCM_SHA256: true, tls.TLS_AES_256_GCM_SHA384: true, tls.TLS_CHACHA20_POLY1305_SHA256: false,
	} {
		if err := checkSuite(tls.ConnectionState{CipherSuite: suite}); (err == nil) != want {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
	}
}

func TestNewServing(t *testing.T) {
	c, err := NewServing(newKey(t, elliptic.P256()), []string{"node-1", "node-1.example.org"}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"node-1", "node-1.example.org", "192.0.2.1"} {
		if err := c.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if err := c.VerifyHostname("node-2"); err == nil {
		t.Error("it also names node-2")
	}
	if _, err := (Trust{}).Verify([]*x509.Certificate{c}, now); err == nil || !strings.Contains(err.Error(), "client authentication") {
		t.Errorf("as a client: %v", err)
	}
}
