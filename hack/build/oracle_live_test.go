package main

import (
	"bytes"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/hack/debian"
	"holdfast/rootfs/authenticode"
	"holdfast/rootfs/image"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/pcr"
	"holdfast/rootfs/pcrsig"
	"holdfast/rootfs/uki"
)

// oraclePackages are systemd's tools for UKIs and measurements, with what they need.
var oraclePackages = []string{
	"systemd", "systemd-cryptsetup", "systemd-ukify", "systemd-boot-efi", "libsystemd-shared", "libc6", "libssl3t64", "libcrypt1", "libcap2",
	"libseccomp2", "libselinux1", "libmount1", "libblkid1", "libacl1", "libpam0g", "libaudit1", "libcap-ng0", "libpcre2-8-0", "libgcc-s1", "zlib1g",
	"libzstd1", "libtss2-esys-3.0.2-0t64", "libtss2-mu-4.0.1-0t64", "libtss2-rc0t64", "libtss2-sys1t64", "libtss2-tcti-device0t64",
	"libtss2-tcti-swtpm0t64", "libtss2-tctildr0t64", "libcryptsetup12", "libdevmapper1.02.1", "libjson-c5", "libargon2-1", "libudev1", "libuuid1",
	"python3.13-minimal", "libpython3.13-minimal", "libpython3.13-stdlib", "python3-pefile", "libexpat1", "libffi8",
}

// oracles runs the tools.
type oracles struct {
	tree *debian.Tree
	dir  string // where systemd's programs stand as scripts
}

func newOracles(t *testing.T) oracles {
	t.Helper()
	tree, err := debian.Fetch(t.Context(), suite, oraclePackages)
	if err != nil {
		t.Fatal(err)
	}
	o := oracles{tree, t.TempDir()}
	for name, at := range map[string]string{
		"systemd-measure": "lib/systemd/", "systemd-pcrlock": "lib/systemd/", "systemd-cryptenroll": "bin/",
	} {
		script := fmt.Sprintf("#!/bin/sh\nexec %q --library-path %q:%q %q \"$@\"\n", o.path("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
			o.path("lib/x86_64-linux-gnu"), o.path("lib/x86_64-linux-gnu/systemd"), o.path(at+name))
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o oracles) path(name string) string { return filepath.Join(o.tree.Root, "usr", name) }

// systemd runs one of systemd's programs.
func (o oracles) systemd(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	return output(t, exec.CommandContext(t.Context(), filepath.Join(o.dir, name), args...))
}

// ukify runs ukify with the tree's own Python.
func (o oracles) ukify(t *testing.T, args ...string) {
	t.Helper()
	cmd := o.tree.Command(t.Context(), "python3.13", append([]string{o.path("lib/systemd/ukify"), "--tools=" + o.dir}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONHOME="+o.path(""), "PYTHONPATH="+o.path("lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE=1")
	output(t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// parts is what the tests' UKIs are made of.
type parts struct {
	image.UKI
	keysDir string
	keys    *keys.Keys
}

func newParts(t *testing.T, o oracles) parts {
	t.Helper()
	p := parts{keysDir: filepath.Join(t.TempDir(), "keys")}
	if err := keys.Make(p.keysDir); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.keys, err = keys.Load(p.keysDir); err != nil {
		t.Fatal(err)
	}
	stub, err := os.ReadFile(o.path("lib/systemd/boot/efi/linuxx64.efi.stub"))
	if err != nil {
		t.Fatal(err)
	}
	p.UKI = image.UKI{
		Stub: stub, Initrd: bytes.Repeat([]byte("initrd"), 3000), OSRelease: "ID=holdfast\nVERSION_ID=1\n", Cmdline: "roothash=00 quiet", Release: "6.18.15",
		Kernel:    stub, // any EFI program: ukify looks at it
		PolicyKey: pcrsig.EncodePublicKey(p.keys.Policy.Public().(*rsa.PublicKey)),
	}
	return p
}

func (p parts) signer() image.Signer {
	return image.Signer{Key: p.keys.DB.Signer, Cert: p.keys.DB.Cert, Policy: p.keys.Policy}
}

// file writes a part for a tool.
func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func section(t *testing.T, pe []byte, name string) []byte {
	t.Helper()
	sections, err := uki.Sections(bytes.NewReader(pe))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		if s.Name == name {
			return s.Data
		}
	}
	t.Fatalf("no section %s", name)
	return nil
}

// TestSystemdMeasure takes systemd-measure as the judge of PCR 11 and of the
// signed policies.
func TestSystemdMeasure(t *testing.T) {
	o := newOracles(t)
	p := newParts(t, o)
	unsigned, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := p.signer().SignUKI(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--json=short", "--bank=sha256", "--bank=sha384", "--linux=" + file(t, p.Kernel), "--initrd=" + file(t, p.Initrd),
		"--osrel=" + file(t, []byte(p.OSRelease)), "--cmdline=" + file(t, []byte(p.Cmdline)), "--uname=" + file(t, []byte(p.Release)),
		"--pcrpkey=" + file(t, p.PolicyKey), "--sbat=" + file(t, section(t, signed, ".sbat")),
	}
	kernel, err := pcr.UKI(signed)
	if err != nil {
		t.Fatal(err)
	}
	calculate := append([]string{"calculate", "--phase=enter-initrd", "--phase=enter-initrd:leave-initrd",
		"--phase=enter-initrd:leave-initrd:sysinit", "--phase=enter-initrd:leave-initrd:sysinit:ready",
		"--phase=enter-initrd:leave-initrd:sysinit:ready:shutdown"}, args...)
	var values map[string][]struct{ Phase, Hash string }
	if err := json.Unmarshal(o.systemd(t, "systemd-measure", calculate...), &values); err != nil {
		t.Fatal(err)
	}
	for bank := range pcr.Banks() {
		if len(values[bank]) != len(pcr.Phases()) {
			t.Errorf("systemd-measure has %d values of %s, want %d", len(values[bank]), bank, len(pcr.Phases()))
		}
		for _, want := range values[bank] {
			if got, err := kernel.Value(bank, want.Phase); err != nil || hex.EncodeToString(got) != want.Hash {
				t.Errorf("%s, %s: %x, %v, want %s", bank, want.Phase, got, err, want.Hash)
			}
		}
	}
	sign := append([]string{"sign", "--phase=enter-initrd", "--private-key=" + filepath.Join(p.keysDir, "policy.key"),
		"--public-key=" + filepath.Join(p.keysDir, "policy.pub")}, args...)
	samePolicies(t, section(t, signed, ".pcrsig"), o.systemd(t, "systemd-measure", sign...))
}

// samePolicies compares two contents of .pcrsig.
func samePolicies(t *testing.T, ours, theirs []byte) {
	t.Helper()
	got, err := pcrsig.Parse(ours)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pcrsig.Parse(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || len(got) != len(pcr.Banks()) {
		t.Errorf(".pcrsig is\n%s\nwant\n%s", ours, theirs)
	}
}

// TestUkify has ukify make and sign an image of the same parts.
func TestUkify(t *testing.T) {
	o := newOracles(t)
	p := newParts(t, o)
	unsigned, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := p.signer().SignUKI(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "uki.efi")
	o.ukify(t, "build", "--stub="+file(t, p.Stub), "--linux="+file(t, p.Kernel), "--initrd="+file(t, p.Initrd), "--os-release="+p.OSRelease,
		"--cmdline="+p.Cmdline, "--uname="+p.Release, "--pcr-private-key="+filepath.Join(p.keysDir, "policy.key"),
		"--pcr-public-key="+filepath.Join(p.keysDir, "policy.pub"), "--phases=enter-initrd", "--pcr-banks=sha256,sha384", "--output="+out)
	theirs, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd"} {
		if got, want := section(t, signed, name), section(t, theirs, name); !bytes.Equal(got, want) {
			t.Errorf("%s is %.80q, ukify has %.80q", name, got, want)
		}
	}
	// Its .sbat is one of its own, so its PCR 11 is, too.
	ours, err := p.signer().Policies(theirs)
	if err != nil {
		t.Fatal(err)
	}
	samePolicies(t, ours, section(t, theirs, ".pcrsig"))
}

// TestSystemdPcrlock takes systemd-pcrlock as the judge of what firmware
// measures of a program.
func TestSystemdPcrlock(t *testing.T) {
	o := newOracles(t)
	p := newParts(t, o)
	unsigned, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := p.signer().SignUKI(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	for name, pe := range map[string][]byte{"stub": p.Stub, "unsigned": unsigned, "signed": signed} {
		out := filepath.Join(t.TempDir(), "lock.pcrlock")
		o.systemd(t, "systemd-pcrlock", "lock-pe", "--pcr=4", "--pcrlock="+out, file(t, pe))
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		var lock struct {
			Records []struct {
				PCR     int
				Digests []struct{ HashAlg, Digest string }
			}
		}
		if err := json.Unmarshal(data, &lock); err != nil || len(lock.Records) != 1 || lock.Records[0].PCR != 4 {
			t.Fatalf("%v: %s", err, data)
		}
		digest, err := authenticode.Digest(pe)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, d := range lock.Records[0].Digests {
			if h, ok := pcr.Banks()[d.HashAlg]; ok {
				seen++
				if got := hex.EncodeToString(digest(h)); got != d.Digest {
					t.Errorf("%s, %s: %s, want %s", name, d.HashAlg, got, d.Digest)
				}
			}
		}
		if seen != len(pcr.Banks()) {
			t.Errorf("%s: %d banks in %s", name, seen, data)
		}
	}
}
