package keys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/rootfs/pcrsig"
)

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want int
	}{
		{"EFI_TIME", efiTime{}, sizeofTime},
		{"EFI_VARIABLE_AUTHENTICATION_2", authentication{}, sizeofAuthentication},
		{"EFI_SIGNATURE_LIST with the owner", signatureList{}, 28 + 16},
	} {
		if got := binary.Size(tt.v); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, got, tt.want)
		}
	}
}

// makeKeys makes keys in a new directory.
func makeKeys(t *testing.T) (dir string, k *Keys) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "a", "keys")
	if err := Make(dir); err != nil {
		t.Fatal(err)
	}
	k, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, k
}

func TestMake(t *testing.T) {
	dir, k := makeKeys(t)
	modes := map[string]os.FileMode{".key": 0o600, ".crt": 0o644, ".der": 0o644}
	for _, name := range []string{"PK", "KEK", "db"} {
		for suffix, mode := range modes {
			info, err := os.Stat(filepath.Join(dir, name+suffix))
			if err != nil || info.Mode() != mode {
				t.Errorf("%s%s: %v, %v", name, suffix, info, err)
			}
		}
	}
	for name, mode := range map[string]os.FileMode{"policy.key": 0o600, "policy.pub": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
	if err := Make(dir); err != nil {
		t.Errorf("make again: %v", err)
	}
	again, err := Load(dir)
	if err != nil || !again.DB.Cert.Equal(k.DB.Cert) {
		t.Errorf("keys were replaced (%v)", err)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestMakeAddsThePolicyKey to keys that were made without one.
func TestMakeAddsThePolicyKey(t *testing.T) {
	dir, k := makeKeys(t)
	for _, name := range []string{"policy.key", "policy.pub"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(dir); err == nil || !strings.HasPrefix(err.Error(), "load key policy: ") {
		t.Errorf("load without a policy key: %v", err)
	}
	var makers sync.WaitGroup
	for range 4 {
		makers.Go(func() {
			if err := Make(dir); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	now, err := Load(dir)
	if err != nil || !now.DB.Cert.Equal(k.DB.Cert) || now.ID() != k.ID() {
		t.Fatalf("the other keys changed (%v)", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "policy.pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := pcrsig.ParsePublicKey(text)
	if err != nil || !public.Equal(now.Policy.Public()) {
		t.Errorf("policy.pub is not that of policy.key (%v)", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".policy-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestMakeAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var makers sync.WaitGroup
	for range 4 {
		makers.Go(func() {
			if err := Make(dir); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name string
		do   func(dir string) error
		want string
	}{
		{"permissions", func(dir string) error { return os.Chmod(filepath.Join(dir, "db.key"), 0o640) },
			"load key db: DIR/db.key: mode 0640 lets others in, expected 0600"},
		{"missing key", func(dir string) error { return os.Remove(filepath.Join(dir, "KEK.key")) },
			"load key KEK: stat DIR/KEK.key: no such file or directory"},
		{"missing certificate", func(dir string) error { return os.Remove(filepath.Join(dir, "PK.crt")) },
			"load key PK: open DIR/PK.crt: no such file or directory"},
		{"not PEM", func(dir string) error { return os.WriteFile(filepath.Join(dir, "PK.crt"), []byte("x"), 0o600) },
			`load key PK: DIR/PK.crt: expected one PEM block "CERTIFICATE"`},
		{"policy key's permissions", func(dir string) error { return os.Chmod(filepath.Join(dir, "policy.key"), 0o604) },
			"load key policy: DIR/policy.key: mode 0604 lets others in, expected 0600"},
		{"another's certificate", func(dir string) error { return os.Rename(filepath.Join(dir, "db.crt"), filepath.Join(dir, "KEK.crt")) },
			"load key KEK: DIR/KEK.key: not the key of DIR/KEK.crt"},
	}
	dir, _ := makeKeys(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := filepath.Join(t.TempDir(), "keys")
			if err := os.CopyFS(broken, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"PK", "KEK", "db", "policy"} { // CopyFS knows only its own modes
				if err := os.Chmod(filepath.Join(broken, name+".key"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.do(broken); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(tt.want, "DIR", broken)
			if _, err := Load(broken); err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if err := Make(broken); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("make beside broken keys: %v", err)
			}
		})
	}
}

// TestEfitools compares with what efitools make of the same keys, byte for byte.
func TestEfitools(t *testing.T) {
	for _, tool := range []string{"cert-to-efi-sig-list", "sign-efi-sig-list"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "" {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir, k := makeKeys(t)
	files, err := k.EnrollFiles()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := k.EnrollFiles(); err != nil || fmt.Sprint(again) != fmt.Sprint(files) {
		t.Errorf("a second run differs (%v)", err)
	}
	for name, by := range map[string]string{"PK": "PK", "KEK": "PK", "db": "KEK"} {
		t.Run(name, func(t *testing.T) {
			list, auth := filepath.Join(t.TempDir(), "esl"), filepath.Join(t.TempDir(), "auth")
			run(t, "cert-to-efi-sig-list", "-g", Owner, filepath.Join(dir, name+".crt"), list)
			run(t, "sign-efi-sig-list", "-g", vendors()[name], "-t", signedAt().Format("2006-01-02 15:04:05"),
				"-k", filepath.Join(dir, by+".key"), "-c", filepath.Join(dir, by+".crt"), name, list, auth)
			want, err := os.ReadFile(auth)
			if err != nil {
				t.Fatal(err)
			}
			if got := files[name+".auth"]; !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func vendors() map[string]string {
	return map[string]string{"PK": globalVariable, "KEK": globalVariable, "db": imageSecurity}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
