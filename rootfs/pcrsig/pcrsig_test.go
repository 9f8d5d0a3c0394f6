package pcrsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

func makeKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestPolicyPCR takes go-tpm as the judge.
func TestPolicyPCR(t *testing.T) {
	for bank, h := range map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384} {
		for _, pcrs := range [][]uint{{11}, {7}, {4, 7, 11}, {0, 23}} {
			var values [][]byte
			var numbers []int
			for _, n := range pcrs {
				values = append(values, bytes.Repeat([]byte{byte(n + 1)}, h.Size()))
				numbers = append(numbers, int(n))
			}
			calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256(bytes.Join(values, nil))
			err = tpm2.PolicyPCR{
				PcrDigest: tpm2.TPM2BDigest{Buffer: digest[:]},
				Pcrs: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
					{Hash: tpm2.TPMAlgID(algorithms[bank].id), PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)},
				}},
			}.Update(calc)
			if err != nil {
				t.Fatal(err)
			}
			got, err := PolicyPCR(bank, numbers, values...)
			if err != nil || !bytes.Equal(got[:], calc.Hash().Digest) {
				t.Errorf("%s %v: %x, %v, want %x", bank, pcrs, got, err, calc.Hash().Digest)
			}
		}
	}
	for _, bad := range []struct {
		bank   string
		pcrs   []int
		values int
	}{{"sha1", []int{1}, 1}, {"sha256", []int{1}, 0}, {"sha256", []int{24}, 1}, {"sha256", []int{-1}, 1}, {"sha256", []int{7, 4}, 2}} {
		if got, err := PolicyPCR(bad.bank, bad.pcrs, make([][]byte, bad.values)...); err == nil {
			t.Errorf("%+v: %x", bad, got)
		}
	}
}

func TestSign(t *testing.T) {
	key, other := makeKey(t), makeKey(t)
	p, err := Sign(key, "sha256", []int{11}, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(key, "sha256", []int{11}, make([]byte, 32))
	if err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("signed again it is another (%v)", err)
	}
	if err := p.Verify(&key.PublicKey); err != nil {
		t.Error(err)
	}
	if err := p.Verify(&other.PublicKey); err == nil || !strings.Contains(err.Error(), "signed by key") {
		t.Errorf("verified by another key: %v", err)
	}
	changed := p
	changed.Digest[0] ^= 1
	if err := changed.Verify(&key.PublicKey); err == nil {
		t.Error("a changed policy was verified")
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(curve, "sha256", []int{11}, make([]byte, 32)); err == nil || err.Error() != "sign PCR policy: *ecdsa.PublicKey, expected an RSA key" {
		t.Errorf("wrong kind of key: %v", err)
	}
}

func TestPublicKey(t *testing.T) {
	key := makeKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := EncodePublicKey(&key.PublicKey)
	if want := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}); !bytes.Equal(text, want) {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	if Fingerprint(&key.PublicKey) != sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey)) {
		t.Error("the fingerprint is not that of the key in DER")
	}
	back, err := ParsePublicKey(text)
	if err != nil || !back.Equal(&key.PublicKey) {
		t.Errorf("came back as %v, %v", back, err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveDER, err := x509.MarshalPKIXPublicKey(curve.Public())
	if err != nil {
		t.Fatal(err)
	}
	small, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).Rsh(key.N, 1024), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	block := func(der []byte) string { return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})) }
	for bad, want := range map[string]string{
		"":                          `parse policy key: expected one PEM block "PUBLIC KEY"`,
		string(text) + string(text): `parse policy key: expected one PEM block "PUBLIC KEY"`,
		block(der[:len(der)-1]):     "parse policy key: not a public key",
		block(append(der, 0)):       "parse policy key: not a public key",
		block(curveDER):             "parse policy key: algorithm 1.2.840.10045.2.1, expected RSA",
		block(small):                "parse policy key: RSA with 1024 bits",
	} {
		if _, err := ParsePublicKey([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestParse(t *testing.T) {
	key := makeKey(t)
	var policies []Policy
	for _, bank := range []string{"sha256", "sha384"} {
		p, err := Sign(key, bank, []int{11}, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	data, err := Encode(policies)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(data); err != nil || !reflect.DeepEqual(got, policies) {
		t.Errorf("came back as %v, %v", got, err)
	}
	hash := strings.Repeat("00", 32)
	for bad, want := range map[string]string{
		"":                                       "parse PCR signatures: unexpected end of JSON input",
		`{"sha256":[{}]}`:                        "parse PCR signatures: bank sha256, entry 0: pcrs [], expected register numbers from 0 to 23",
		`{"sha256":[{"pcrs":[24]}]}`:             "parse PCR signatures: bank sha256, entry 0: pcrs [24], expected",
		`{"sha384":[{"pcrs":[11],"pkfp":"00"}]}`: "parse PCR signatures: bank sha384, entry 0: pkfp: 1 bytes, expected 32",
		`{"sha256":[{"pcrs":[11],"pkfp":"` + hash + `","pol":"x"}]}`:            "parse PCR signatures: bank sha256, entry 0: pol: encoding/hex",
		`{"sha256":[{"pcrs":[11],"pkfp":"` + hash + `","pol":"` + hash + `"}]}`: "parse PCR signatures: bank sha256, entry 0: sig: empty",
		strings.Repeat(" ", maxBytes+1):                                         "parse PCR signatures: 65537 bytes, expected at most 65536",
	} {
		if _, err := Parse([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60s: error %v, want %s", bad, err, want)
		}
	}
	if got, err := Parse([]byte(`{"sha1":[{}],"sha512":[{}]}`)); err != nil || len(got) != 0 {
		t.Errorf("banks that are not known: %v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	hash := strings.Repeat("00", 32)
	f.Add([]byte(fmt.Sprintf(`{"sha256":[{"pcrs":[11],"pkfp":"%s","pol":"%s","sig":"AAAA"}]}`, hash, hash)))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Encode(policies)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || !reflect.DeepEqual(back, policies) {
			t.Errorf("%v came back as %v, %v", policies, back, err)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(EncodePublicKey(&makeKey(f).PublicKey))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePublicKey(text)
		if err != nil {
			return
		}
		if back, err := ParsePublicKey(EncodePublicKey(key)); err != nil || !back.Equal(key) {
			t.Errorf("%v came back as %v, %v", key, back, err)
		}
	})
}
