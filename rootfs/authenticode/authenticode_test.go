package authenticode

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"debug/pe"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/rootfs/keys"
	"holdfast/rootfs/uki"
)

// program is a small UKI.
func program(t *testing.T) []byte {
	t.Helper()
	stub := make([]byte, 1024)
	copy(stub, "MZ")
	stub[60] = 64
	copy(stub[64:], "PE\x00\x00")
	headers := []any{
		pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: 240, Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE},
		pe.OptionalHeader64{
			Magic: 0x20b, SectionAlignment: 4096, FileAlignment: 512, SizeOfHeaders: 512, SizeOfImage: 8192,
			AddressOfEntryPoint: 4096, Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16,
		},
		pe.SectionHeader32{Name: [8]uint8([]byte(".text\x00\x00\x00")), VirtualSize: 3, VirtualAddress: 4096, SizeOfRawData: 512, PointerToRawData: 512},
	}
	at := 68
	for _, h := range headers {
		n, err := binary.Encode(stub[at:], binary.LittleEndian, h)
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	image, err := uki.Build(stub, []uki.Section{{Name: ".linux", Data: []byte("kernel")}, {Name: ".cmdline", Data: []byte("panic=10")}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func makeKeys(t *testing.T) (dir string, k *keys.Keys) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	if err := keys.Make(dir); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, k
}

func TestSbverify(t *testing.T) {
	if _, err := exec.LookPath("sbverify"); err != nil && os.Getenv("CI") == "" {
		t.Skip("sbverify is not installed")
	}
	dir, k := makeKeys(t)
	image := program(t)
	signed, err := Sign(image, k.DB.Signer, k.DB.Cert)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Sign(signed, k.KEK.Signer, k.KEK.Cert)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(signed)
	changed[bytes.Index(changed, []byte("panic=10"))] ^= 1
	tests := []struct {
		name, cert string
		image      []byte
		ok         bool
	}{
		{"signed", "db", signed, true},
		{"by another", "KEK", signed, false},
		{"changed", "db", changed, false},
		{"unsigned", "db", image, false},
		{"signed twice", "db", twice, true},
		{"signed twice, the other", "KEK", twice, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "uki.efi")
			if err := os.WriteFile(path, tt.image, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("sbverify", "--cert", filepath.Join(dir, tt.cert+".crt"), path).CombinedOutput()
			if (err == nil) != tt.ok || tt.ok != strings.Contains(string(out), "Signature verification OK") {
				t.Errorf("sbverify: %v\n%s", err, out)
			}
			if strings.Contains(string(out), "warning") {
				t.Errorf("sbverify warns:\n%s", out)
			}
		})
	}
}

func TestSignKeepsContent(t *testing.T) {
	_, k := makeKeys(t)
	image := program(t)
	signed, err := Sign(image, k.DB.Signer, k.DB.Cert)
	if err != nil {
		t.Fatal(err)
	}
	want, err := uki.Sections(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	got, err := uki.Sections(bytes.NewReader(signed))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d sections, %v", len(got), err)
	}
	for i := range want {
		if got[i].Name != want[i].Name || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Errorf("section %s became %s %q", want[i].Name, got[i].Name, got[i].Data)
		}
	}
}

func TestSignErrors(t *testing.T) {
	_, k := makeKeys(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(program(t), k.PK.Signer, k.DB.Cert); err == nil || err.Error() != "sign EFI program: the key is not that of the certificate" {
		t.Errorf("wrong certificate: %v", err)
	}
	if _, err := Sign(program(t), curve, k.DB.Cert); err == nil || err.Error() != "sign EFI program: *ecdsa.PublicKey, expected an RSA key" {
		t.Errorf("wrong kind of key: %v", err)
	}
	if _, err := Sign([]byte("#!/bin/sh\n"), k.DB.Signer, k.DB.Cert); err == nil {
		t.Error("a script was signed")
	}
}
