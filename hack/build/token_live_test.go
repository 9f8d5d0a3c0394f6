package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/kernel/tpm/swtpm"
	"holdfast/rootfs/luks2"
	"holdfast/rootfs/pcrsig"
	"holdfast/rootfs/seal"
)

// sealedVolume is a volume whose key slot 0 is sealed to a TPM that is booted,
// and 1 opens with "recovery".
type sealedVolume struct {
	parts
	socket, dir, path, signature string
	file                         *os.File
	volumeKey                    []byte
	policies                     []pcrsig.Policy
}

func newSealedVolume(t *testing.T, o oracles) *sealedVolume {
	t.Helper()
	v := &sealedVolume{parts: newParts(t, o), socket: swtpm.NewDir(t).Serve(t), dir: t.TempDir()}
	v.path = filepath.Join(v.dir, "volume")
	device := swtpm.Dial(t, v.socket)
	defer device.Stop()
	for pcr, word := range map[int]string{7: "Secure Boot's keys", 11: "enter-initrd"} {
		_, err := tpm2.PCREvent{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			EventData: tpm2.TPM2BEvent{Buffer: []byte(word)},
		}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
	}
	kernel, secureBoot := readPCR(t, device, 11), readPCR(t, device, 7)
	policy, err := pcrsig.Sign(v.keys.Policy, "sha256", []int{11}, kernel)
	if err != nil {
		t.Fatal(err)
	}
	v.policies = []pcrsig.Policy{policy}
	secret := make([]byte, seal.SecretSize)
	rand.Read(secret)
	sealed, err := seal.Seal(device, v.keys.Policy.Public().(*rsa.PublicKey), secureBoot, secret)
	if err != nil {
		t.Fatal(err)
	}
	token, err := sealed.Token()
	if err != nil {
		t.Fatal(err)
	}
	v.format(t, luks2.Slot{Passphrase: seal.Passphrase(secret), Token: token}, luks2.Slot{Passphrase: []byte("recovery")})
	return v
}

func readPCR(t *testing.T, device *swtpm.TPM, pcr int) []byte {
	t.Helper()
	value, err := seal.ReadPCR(device, pcr)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// format makes the volume, and the files that systemd's tools want.
func (v *sealedVolume) format(t *testing.T, slots ...luks2.Slot) {
	t.Helper()
	f, err := os.Create(v.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(luks2.DataOffset + 1<<20); err != nil {
		t.Fatal(err)
	}
	v.file = f
	if _, v.volumeKey, err = luks2.Format(f, luks2.Options{UUID: "0f7a4f60-9c4b-4c6b-8d54-0d4a1c1e5a01", Slots: slots}); err != nil {
		t.Fatal(err)
	}
	signature, err := pcrsig.Encode(v.policies)
	if err != nil {
		t.Fatal(err)
	}
	v.signature = filepath.Join(v.dir, "tpm2-pcr-signature.json")
	for name, data := range map[string][]byte{v.signature: signature, filepath.Join(v.dir, "recovery"): []byte("recovery")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// cryptenroll runs systemd-cryptenroll on the volume, in a mount namespace where
// the signature is at the place at which a booted system has it.
func (v *sealedVolume) cryptenroll(t *testing.T, o oracles, args ...string) (said []byte) {
	t.Helper()
	script := `mount -t tmpfs none /run && mkdir /run/systemd && cp "$0" /run/systemd/ && exec "$@"`
	namespaces := "-m"
	if os.Getuid() != 0 {
		namespaces = "-rm"
	}
	program := append([]string{namespaces, "sh", "-c", script, v.signature, filepath.Join(o.dir, "systemd-cryptenroll")}, args...)
	cmd := exec.CommandContext(t.Context(), "unshare", append(program, v.path)...)
	return output(t, cmd)
}

func (v *sealedVolume) tokens(t *testing.T) map[int]string {
	t.Helper()
	volume, err := luks2.Open(v.file)
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[int]string{}
	for n, token := range volume.Tokens() {
		tokens[n] = string(token)
	}
	return tokens
}

// unseal opens the volume with a token of it, as the node does.
func (v *sealedVolume) unseal(t *testing.T, token string) {
	t.Helper()
	sealed, err := seal.ParseToken([]byte(token))
	if err != nil {
		t.Fatalf("%v\n%s", err, token)
	}
	device := swtpm.Dial(t, v.socket)
	defer device.Stop()
	secret, err := sealed.Unseal(device, v.policies)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := luks2.Open(v.file)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := volume.Unlock(seal.Passphrase(secret))
	if err != nil || !bytes.Equal(key, v.volumeKey) {
		t.Errorf("unlock: %v", err)
	}
}

// TestCryptenrollReadsOurToken: systemd-cryptenroll unlocks our volume by our token.
func TestCryptenrollReadsOurToken(t *testing.T) {
	o := newOracles(t)
	v := newSealedVolume(t, o)
	v.unseal(t, v.tokens(t)[0])
	said := v.cryptenroll(t, o, "--unlock-tpm2-device=swtpm:path="+v.socket, "--recovery-key")
	key, err := luks2.ParseRecoveryKey(said)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	volume, err := luks2.Open(v.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, slot, err := volume.Unlock(key); err != nil || slot != 2 {
		t.Errorf("its recovery key opens slot %d, %v", slot, err)
	}
	var theirs, ours struct{ Type string }
	if err := errors.Join(json.Unmarshal([]byte(v.tokens(t)[1]), &theirs), json.Unmarshal([]byte(luks2.RecoveryToken), &ours)); err != nil || theirs != ours {
		t.Errorf("its token is %v, ours %v (%v)", theirs, ours, err)
	}
}

// TestWeReadCryptenrollsToken: we unlock by a token of systemd-cryptenroll, whose
// members are ours, too.
func TestWeReadCryptenrollsToken(t *testing.T) {
	o := newOracles(t)
	v := newSealedVolume(t, o)
	our := v.tokens(t)[0]
	volume, err := luks2.Open(v.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := volume.Kill(0); err != nil { // or it finds that its policy is enrolled already
		t.Fatal(err)
	}
	v.cryptenroll(t, o, "--unlock-key-file="+filepath.Join(v.dir, "recovery"), "--tpm2-device=swtpm:path="+v.socket, "--tpm2-pcrs=7",
		"--tpm2-public-key="+filepath.Join(v.keysDir, "policy.pub"), "--tpm2-public-key-pcrs=11", "--tpm2-signature="+v.signature)
	tokens := v.tokens(t)
	if len(tokens) != 1 {
		t.Fatalf("tokens %v", tokens)
	}
	v.unseal(t, tokens[0])
	var ours, theirs map[string]any
	for token, to := range map[string]*map[string]any{our: &ours, tokens[0]: &theirs} {
		if err := json.Unmarshal([]byte(token), to); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range theirs {
		if got, ok := ours[name]; !ok {
			t.Errorf("%s is not in our token", name)
		} else if name != "tpm2-blob" && name != "keyslots" && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is\n%v in our token, want\n%v", name, got, want)
		}
	}
}
