package luks2

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	luks "github.com/anatol/luks.go"
)

// onDisk makes a volume in a file.
func onDisk(t *testing.T) (v *Volume, key []byte, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "volume")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(testDevice); err != nil {
		t.Fatal(err)
	}
	v, key = format(t, f)
	return v, key, path
}

// cryptsetup runs it with a passphrase as its standard input.
func cryptsetup(t *testing.T, passphrase string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil && os.Getenv("CI") == "" {
		t.Skip("cryptsetup is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "cryptsetup", append([]string{"--batch-mode"}, args...)...)
	cmd.Stdin = strings.NewReader(passphrase)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// judged has cryptsetup look at a volume: it is sound, and these passphrases open it.
func judged(t *testing.T, path string, passphrases ...string) (dump string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"one", "two", "three", "none"} {
		out, err := cryptsetup(t, p, "open", "--test-passphrase", "--key-file=-", path)
		if (err == nil) != slices.Contains(passphrases, p) {
			t.Errorf("open with %q: %v\n%s", p, err, out)
		}
	}
	out, err := cryptsetup(t, "", "repair", path)
	if err != nil {
		t.Errorf("repair: %v\n%s", err, out)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("cryptsetup repaired something (%v): %s", err, out)
	}
	dump, err = cryptsetup(t, "", "luksDump", path)
	if err != nil {
		t.Fatalf("luksDump: %v\n%s", err, dump)
	}
	return dump
}

func TestCryptsetupReads(t *testing.T) {
	v, key, path := onDisk(t)
	dump := judged(t, path, "one", "two")
	for _, want := range []string{
		`Version:\s+2`, `Epoch:\s+1`, `UUID:\s+` + testUUID, `Label:\s+state`, `0: crypt`, `offset: 16777216 \[bytes\]`, `length: \(whole device\)`,
		`cipher: aes-xts-plain64`, `sector: 4096 \[bytes\]`, `0: luks2`, `1: luks2`, `Key:\s+512 bits`, `PBKDF:\s+pbkdf2`, `Iterations:\s+1000`,
		`0: first\n\s+Keyslot:\s+0`, `Digest ID:\s+0`, `Requirements:\s+\(no requirements\)|Flags:\s+\(no flags\)`,
	} {
		if !regexp.MustCompile(want).MatchString(dump) {
			t.Errorf("luksDump does not show %s:\n%s", want, dump)
		}
	}
	dumped := filepath.Join(t.TempDir(), "key")
	if out, err := cryptsetup(t, "one", "luksDump", "--dump-volume-key", "--volume-key-file="+dumped, "--key-file=-", path); err != nil {
		t.Errorf("dump key: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(dumped); err != nil || !bytes.Equal(got, key) {
		t.Errorf("cryptsetup gets another key (%v)", err)
	}
	argon := slot("three", token("third"))
	argon.KDF = KDF{Time: 4, MemoryKiB: 1024, CPUs: 1}
	if _, err := v.Replace(0, key, argon); err != nil {
		t.Fatal(err)
	}
	dump = judged(t, path, "two", "three")
	if !strings.Contains(dump, "argon2id") || strings.Contains(dump, "first") || !strings.Contains(dump, "third") {
		t.Errorf("after Replace:\n%s", dump)
	}
}

// TestCryptsetupRecovers: it opens what we open when a header is damaged.
func TestCryptsetupRecovers(t *testing.T) {
	for _, at := range []int64{0, headerSize} {
		_, key, path := onDisk(t)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(make([]byte, pageSize+100), at); err != nil {
			t.Fatal(err)
		}
		opens(t, f, key, "one", "two")
		if out, err := cryptsetup(t, "one", "open", "--test-passphrase", "--key-file=-", path); err != nil {
			t.Errorf("header at %d gone: %v\n%s", at, err, out)
		}
	}
}

// TestCryptsetupWrites: we read and edit what cryptsetup made and edited.
func TestCryptsetupWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "volume")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, testDevice); err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(dir, "two")
	if err := os.WriteFile(two, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	imported := filepath.Join(dir, "token")
	if err := os.WriteFile(imported, []byte(`{"type":"foreign","keyslots":["1"],"x":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	quick := []string{"--pbkdf=argon2id", "--pbkdf-force-iterations=4", "--pbkdf-memory=1024", "--pbkdf-parallel=1"}
	for _, args := range [][]string{
		append([]string{"luksFormat", "--type=luks2", "--key-size=512", "--sector-size=4096", "--key-file=-", path}, quick...),
		append([]string{"luksAddKey", "--key-file=-", path, two}, quick...),
		{"token", "import", "--json-file=" + imported, path},
	} {
		if out, err := cryptsetup(t, "one", args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	key, n, err := v.Unlock([]byte("two"))
	if err != nil || n != 1 {
		t.Fatalf("slot %d, %v", n, err)
	}
	if _, err := v.Replace(0, key, slot("three", token("ours"))); err != nil {
		t.Fatal(err)
	}
	opens(t, f, key, "two", "three")
	if dump := judged(t, path, "two", "three"); !strings.Contains(dump, "foreign") || !strings.Contains(dump, "ours") {
		t.Errorf("tokens:\n%s", dump)
	}
}

// TestLuksGo: the package that the node unlocks with gets the same key out of
// every slot.
func TestLuksGo(t *testing.T) {
	v, key, path := onDisk(t)
	if _, err := v.Replace(1, key, slot("three", token("third"))); err != nil {
		t.Fatal(err)
	}
	device, err := luks.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	tokens, err := device.Tokens()
	if err != nil || len(tokens) != 2 {
		t.Errorf("tokens %v, %v", tokens, err)
	}
	if device.UUID() != testUUID || device.Version() != 2 || len(device.Slots()) != 2 {
		t.Errorf("UUID %s, version %d, slots %v", device.UUID(), device.Version(), device.Slots())
	}
	for _, token := range tokens {
		var kind struct{ Type string }
		if err := json.Unmarshal(token.Payload, &kind); err != nil {
			t.Fatal(err)
		}
		passphrase := map[string]string{"first": "one", "third": "three"}[kind.Type]
		volume, err := device.UnsealVolume(token.Slots[0], []byte(passphrase))
		if err != nil {
			t.Errorf("slot %d: %v", token.Slots[0], err)
			continue
		}
		if volume.StorageOffset != DataOffset || volume.StorageSectorSize != sectorSize || volume.StorageEncryption != cipher {
			t.Errorf("volume %+v", volume)
		}
	}
	if _, err := device.UnsealVolume(0, []byte("three")); err == nil {
		t.Error("unlocked with another slot's passphrase")
	}
}
