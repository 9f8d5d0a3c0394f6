package apid

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/init/spec"
	"holdfast/services/api"
	"holdfast/services/atomicfile"
	"holdfast/services/pki"
)

// Every call has what carries it out, and nothing else has.
func TestEveryCallIsServed(t *testing.T) {
	served := 0
	for _, c := range api.Calls() {
		_, once := answers[c.Name]
		_, stream := streams[c.Name]
		if c.Planned == (once || stream) || once && c.Stream || stream && !c.Stream {
			t.Errorf("%s: planned %v, answers %v, streams %v", c.Name, c.Planned, once, stream)
		}
		if once || stream {
			served++
		}
	}
	if served != len(answers)+len(streams) {
		t.Errorf("%d calls are served by %d functions", served, len(answers)+len(streams))
	}
}

// The daemon is nobody but a member of two groups.
func TestSpecGivesNoPower(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("apid", data); err != nil {
		t.Error(err)
	}
	if p := Spec().Process; p.User.UID == 0 || p.User.GID == 0 || len(p.Capabilities.Bounding) > 0 || !p.NoNewPrivileges {
		t.Errorf("%+v", p)
	}
}

func TestOwnKeyIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.key")
	fingerprint := func() string {
		key, err := ownKey(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pki.NewServing(key, []string{"node"}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return pki.Fingerprint(c)
	}
	first := fingerprint()
	if second := fingerprint(); second != first {
		t.Errorf("%s became %s", first, second)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ownKey(file); err == nil || !strings.Contains(err.Error(), "is not PEM") {
		t.Errorf("a damaged key: %v; it must not be replaced in silence", err)
	}
}

// A new bundle counts at once; one that is broken does not lock anybody out.
func TestBundleIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clients.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var certificates []*x509.Certificate
	var bundles [][]byte
	for _, name := range []string{"a", "b"} {
		a, err := pki.NewAuthority(name, key, pki.AuthorityLife, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Issue(pki.Request{Name: "olga", Role: pki.Reader, Public: key.Public(), Life: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		certificates, bundles = append(certificates, c), append(bundles, pki.EncodeCertificate(a.Certificate))
	}
	b := &bundle{file: file}
	accepts := func(c *x509.Certificate) bool {
		_, err := b.trust().Verify([]*x509.Certificate{c}, time.Now())
		return err == nil
	}
	if accepts(certificates[0]) {
		t.Error("accepted without a bundle")
	}
	for i, text := range append(bundles, []byte("broken"), nil) {
		if err := atomicfile.Replace(file, 0o644, text); err != nil {
			t.Fatal(err)
		}
		if want := min(i, 1); !accepts(certificates[want]) || accepts(certificates[1-want]) {
			t.Errorf("after bundle %d: %v, %v", i, accepts(certificates[0]), accepts(certificates[1]))
		}
	}
	if err := os.Remove(file); err != nil || !accepts(certificates[1]) {
		t.Errorf("%v, or nobody is known any more", err)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"lines=1&follow=true", "since=2026-03-01T12:00:00Z", "lines=-1", "a=b&&=%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, c := range api.Calls() {
			q, err := parseQuery(c, raw)
			if err == nil && (len(c.Query) < len(q.bools)+len(q.ints)+len(q.times) || q.ints["lines"] < 0 || q.ints["lines"] > 1e6) {
				t.Errorf("%s takes %q as %+v", c.Name, raw, q)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("not one line: %q", err)
			}
		}
	})
}
