package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/kernel/tpm/swtpm"
	"holdfast/rootfs/pcrsig"
)

// extend has the TPM measure words.
func extend(t testing.TB, device transport.TPM, pcr int, words ...string) {
	t.Helper()
	for _, w := range words {
		_, err := tpm2.PCREvent{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			EventData: tpm2.TPM2BEvent{Buffer: []byte(w)},
		}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// boot starts a TPM and measures Secure Boot's keys, a UKI and the first phase.
func boot(t testing.TB, dir swtpm.Dir, keys, uki string) *swtpm.TPM {
	t.Helper()
	device := dir.Start(t)
	extend(t, device, secureBootPCR, keys)
	extend(t, device, kernelPCR, uki, "enter-initrd")
	return device
}

func read(t testing.TB, device transport.TPM, pcr int) []byte {
	t.Helper()
	value, err := ReadPCR(device, pcr)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// sign signs what PCR 11 holds.
func sign(t testing.TB, device transport.TPM, key *rsa.PrivateKey) []pcrsig.Policy {
	t.Helper()
	p, err := pcrsig.Sign(key, bank, []int{kernelPCR}, read(t, device, kernelPCR))
	if err != nil {
		t.Fatal(err)
	}
	other, err := pcrsig.Sign(key, "sha384", []int{kernelPCR}, make([]byte, 48))
	if err != nil {
		t.Fatal(err)
	}
	return []pcrsig.Policy{other, p}
}

func makeKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sealing is a secret and all that belongs to it.
type sealing struct {
	dir      swtpm.Dir
	key      *rsa.PrivateKey
	secret   []byte
	sealed   *Sealed
	policies []pcrsig.Policy // of the UKI that sealed it
}

func newSealing(t testing.TB) sealing {
	t.Helper()
	s := sealing{dir: swtpm.NewDir(t), key: makeKey(t), secret: make([]byte, SecretSize)}
	rand.Read(s.secret)
	device := boot(t, s.dir, "keys", "uki")
	defer device.Stop()
	s.policies = sign(t, device, s.key)
	sealed, err := Seal(device, &s.key.PublicKey, read(t, device, secureBootPCR), s.secret)
	if err != nil {
		t.Fatal(err)
	}
	token, err := sealed.Token()
	if err != nil {
		t.Fatal(err)
	}
	if s.sealed, err = ParseToken(token); err != nil { // as it comes back from a volume
		t.Fatal(err)
	}
	return s
}

func (s sealing) opens(t *testing.T, device transport.TPM, policies []pcrsig.Policy) {
	t.Helper()
	got, err := s.sealed.Unseal(device, policies)
	if err != nil || !bytes.Equal(got, s.secret) {
		t.Errorf("%v, want the secret", err)
	}
}

func TestUnseal(t *testing.T) {
	s := newSealing(t)
	device := boot(t, s.dir, "keys", "uki")
	for range 4 { // nothing is left behind in the TPM
		s.opens(t, device, s.policies)
	}
	device.Stop()

	// A newer UKI, signed by the same key.
	device = boot(t, s.dir, "keys", "newer uki")
	s.opens(t, device, append(s.policies, sign(t, device, s.key)...))

	// The key is made again when it lost its handle.
	if _, err := (tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: srk(t, device), PersistentHandle: srkHandle}).Execute(device); err != nil {
		t.Fatal(err)
	}
	s.opens(t, device, sign(t, device, s.key))
}

func srk(t *testing.T, device transport.TPM) *tpm2.NamedHandle {
	t.Helper()
	key, err := ensureSRK(device)
	if err != nil {
		t.Fatal(err)
	}
	return &tpm2.NamedHandle{Handle: srkHandle, Name: key.name}
}

// refused is a case in which the TPM must not give the secret away.
type refused struct {
	name string
	// do leads a booted TPM astray and says which policies are offered.
	do   func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy)
	want error
	text string
}

var refusals = []refused{
	{"other Secure Boot keys", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		return boot(t, s.dir, "other keys", "uki"), s.policies
	}, nil, "PCR 7 is "},
	{"later phase", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		device := boot(t, s.dir, "keys", "uki")
		extend(t, device, kernelPCR, "leave-initrd")
		return device, s.policies
	}, nil, "PCR 11 is "},
	{"other UKI, not signed", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		return boot(t, s.dir, "keys", "other uki"), s.policies
	}, nil, "another UKI, or a later phase of the boot"},
	{"other UKI, signed by another key", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		device := boot(t, s.dir, "keys", "other uki")
		return device, sign(t, device, makeKey(t))
	}, ErrUnsigned, "signed by key "},
	{"other UKI, signature forged", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		device := boot(t, s.dir, "keys", "other uki")
		policies := sign(t, device, makeKey(t))
		for i := range policies {
			policies[i].Key = pcrsig.Fingerprint(&s.key.PublicKey)
		}
		return device, policies
	}, ErrUnsigned, "verification error"},
	{"no signature", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		return boot(t, s.dir, "keys", "uki"), nil
	}, ErrUnsigned, "no policy is signed"},
	{"other TPM", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		return boot(t, swtpm.NewDir(t), "keys", "uki"), s.policies
	}, ErrOtherTPM, ""},
	{"cleared TPM", func(t *testing.T, s sealing) (transport.TPM, []pcrsig.Policy) {
		device := boot(t, s.dir, "keys", "uki")
		if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(device); err != nil {
			t.Fatal(err)
		}
		return device, s.policies
	}, ErrCleared, ""},
}

func TestRefused(t *testing.T) {
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			s := newSealing(t)
			device, policies := tt.do(t, s)
			secret, err := s.sealed.Unseal(device, policies)
			if err == nil {
				t.Fatalf("it gave %x away", secret)
			}
			if (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %v, %q", err, tt.want, tt.text)
			}
		})
	}
}

// TestRefusedByTheTPM leaves our own checks out: the TPM itself must refuse.
func TestRefusedByTheTPM(t *testing.T) {
	for _, tt := range refusals {
		if errors.Is(tt.want, ErrOtherTPM) || errors.Is(tt.want, ErrCleared) {
			continue // there the object can't even be loaded
		}
		t.Run(tt.name, func(t *testing.T) {
			s := newSealing(t)
			device, policies := tt.do(t, s)
			parent, err := ensureSRK(device)
			if err != nil {
				t.Fatal(err)
			}
			object, err := s.sealed.load(device, parent)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range append(policies, pcrsig.Policy{}) {
				session, end, err := tpm2.PolicySession(device, tpm2.TPMAlgSHA256, nonceSize)
				if err != nil {
					t.Fatal(err)
				}
				_ = s.sealed.satisfy(device, session.Handle(), p)
				object.Auth = session
				if got, err := (tpm2.Unseal{ItemHandle: object}).Execute(device); err == nil {
					t.Fatalf("the TPM gave %x away", got.OutData.Buffer)
				} else if !errors.Is(err, tpm2.TPMRCPolicyFail) {
					t.Errorf("%v, want %v", err, tpm2.TPMRCPolicyFail)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestPCRErrorSaysWhatChanged(t *testing.T) {
	s := newSealing(t)
	device := boot(t, s.dir, "other keys", "uki")
	_, err := s.sealed.Unseal(device, s.policies)
	var changed *PCRError
	if !errors.As(err, &changed) || changed.PCR != 7 || !bytes.Equal(changed.Found, read(t, device, 7)) || !bytes.Equal(changed.Expected, s.sealed.PCR7) {
		t.Errorf("%v", err)
	}
	// Without the remembered value it still says that the policy is another.
	s.sealed.PCR7 = nil
	if _, err := s.sealed.Unseal(device, s.policies); err == nil || !strings.Contains(err.Error(), "sealed to another policy") {
		t.Errorf("%v", err)
	}
}

// listener keeps what travels between us and the TPM.
type listener struct {
	transport.TPM
	heard bytes.Buffer
}

func (l *listener) Send(command []byte) ([]byte, error) {
	l.heard.Write(command)
	response, err := l.TPM.Send(command)
	l.heard.Write(response)
	return response, err
}

func TestListenerLearnsNothing(t *testing.T) {
	s := newSealing(t)
	bus := &listener{TPM: boot(t, s.dir, "keys", "uki")}
	sealed, err := Seal(bus, &s.key.PublicKey, read(t, bus, secureBootPCR), s.secret)
	if err != nil {
		t.Fatal(err)
	}
	s.sealed = sealed
	s.opens(t, bus, s.policies)
	if bytes.Contains(bus.heard.Bytes(), s.secret[:8]) {
		t.Error("the secret travels in the clear")
	}
}

// imposter answers with a storage root key of its own.
type imposter struct{ transport.TPM }

func (i imposter) Send(command []byte) ([]byte, error) {
	response, err := i.TPM.Send(command)
	const readPublic = "00000173"
	if err == nil && hex.EncodeToString(command[6:10]) == readPublic && len(response) > 60 {
		response[50] ^= 1
	}
	return response, err
}

func TestImposterIsFoundOut(t *testing.T) {
	s := newSealing(t)
	device := boot(t, s.dir, "keys", "uki")
	if secret, err := s.sealed.Unseal(imposter{device}, s.policies); err == nil {
		t.Errorf("talked to an imposter: %x", secret)
	}
}

// dead is a TPM that ends in the middle.
type dead struct {
	transport.TPM
	commands int
}

func (d *dead) Send(command []byte) ([]byte, error) {
	if d.commands--; d.commands < 0 {
		return nil, errors.New("the TPM is gone")
	}
	return d.TPM.Send(command)
}

func TestDyingTPM(t *testing.T) {
	s := newSealing(t)
	for n := range 100 {
		device := boot(t, s.dir, "keys", "uki")
		_, err := s.sealed.Unseal(&dead{device, n}, s.policies)
		device.Stop()
		if err == nil {
			t.Logf("it takes %d commands", n)
			return
		}
		if !strings.HasPrefix(err.Error(), "unseal secret: ") || !strings.Contains(err.Error(), "the TPM is gone") {
			t.Errorf("after %d commands: %v", n, err)
		}
	}
	t.Error("it takes more than 100 commands")
}

func TestSealErrors(t *testing.T) {
	s := newSealing(t)
	device := boot(t, s.dir, "keys", "uki")
	if _, err := Seal(device, &s.key.PublicKey, make([]byte, 32), []byte("short")); err == nil {
		t.Error("a short secret was sealed")
	}
	if _, err := Seal(device, &s.key.PublicKey, nil, s.secret); err == nil {
		t.Error("sealed to no PCR 7")
	}
}

func TestParseTokenErrors(t *testing.T) {
	s := newSealing(t)
	good, err := s.sealed.Token()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`"type":"systemd-tpm2"`, `"type":"x"`, `parse token: type "x", expected "systemd-tpm2"`},
		{`"tpm2-pcrs":[7]`, `"tpm2-pcrs":[]`, "parse token: PCRs [] and, signed, [11]"},
		{`"tpm2-pcr-bank":"sha256"`, `"tpm2-pcr-bank":"sha1"`, `parse token: bank "sha1"`},
		{`"tpm2-blob":"`, `"tpm2-blob":"AAAA`, "parse token: tpm2-blob: "},
		{`"tpm2-policy-hash":"`, `"tpm2-policy-hash":"00`, "parse token: tpm2-policy-hash is 00"},
		{`"tpm2_srk":"gQAA`, `"tpm2_srk":"gQAB`, "parse token: tpm2_srk: not at handle 0x81000001"},
		{`BEGIN`, `BEGAN`, "parse token: "},
		{`"holdfast-pcr7":"`, `"holdfast-pcr7":"00`, "parse token: holdfast-pcr7 has 33 bytes"},
	} {
		bad := bytes.Replace(good, []byte(tt.old), []byte(tt.new), 1)
		if tt.old == "BEGIN" {
			bad = bytes.Replace(good, []byte(`"tpm2_pubkey":"LS0t`), []byte(`"tpm2_pubkey":"AAAA`), 1)
		}
		if bytes.Equal(bad, good) {
			t.Fatalf("%s is not in %s", tt.old, good)
		}
		if _, err := ParseToken(bad); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.new, err, tt.want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	s := newSealing(f)
	token, err := s.sealed.Token()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseToken(data)
		if err != nil {
			return
		}
		if again, err := s.Token(); err == nil {
			if _, err := ParseToken(again); err != nil {
				t.Errorf("%v\n%s", err, again)
			}
		}
	})
}
