package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stub is the host's EFI stub, installed or fetched as a package.
func stub(t testing.TB) []byte {
	t.Helper()
	const path = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	if data, err := os.ReadFile("/" + path); err == nil {
		return data
	}
	dir := t.TempDir()
	fetch := exec.Command("sh", "-ec", "apt-get -o APT::Sandbox::User=root download systemd-boot-efi && dpkg-deb -x systemd-boot-efi_*.deb .")
	fetch.Dir = dir
	if out, err := fetch.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("no EFI stub: %v\n%s", err, out)
		}
		t.Fatalf("fetch EFI stub: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testSections() []Section {
	return []Section{ // not in order
		{".initrd", bytes.Repeat([]byte("initrd"), 5000)},
		{".linux", bytes.Repeat([]byte("kernel"), 1024)},
		{".osrel", []byte("ID=holdfast\n")},
		{".uname", []byte("6.18.15")},
		{".cmdline", []byte("roothash=00 panic=10")},
	}
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want int
	}{
		{"COFF header", pe.FileHeader{}, coffSize},
		{"optional header", pe.OptionalHeader64{}, optionalSize},
		{"section header", pe.SectionHeader32{}, sectionSize},
	} {
		if got := binary.Size(tt.v); got != tt.want {
			t.Errorf("%s: %d bytes in the file, want %d", tt.name, got, tt.want)
		}
	}
}

func TestBuild(t *testing.T) {
	stub := stub(t)
	image, err := Build(stub, testSections())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Build(stub, testSections())
	if err != nil || !bytes.Equal(image, again) {
		t.Errorf("a second build differs (%v)", err)
	}
	own, err := Sections(bytes.NewReader(stub))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Sections(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	in := testSections()
	want := append(own, in[2], in[4], in[3], in[1], in[0])
	if len(got) != len(want) {
		t.Fatalf("%d sections, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Name != want[i].Name || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Errorf("section %d is %s with %d bytes, want %s with %d", i, got[i].Name, len(got[i].Data), want[i].Name, len(want[i].Data))
		}
	}
	checkLayout(t, image, len(own))
}

// checkLayout asserts what firmware and the stub rely on.
func checkLayout(t *testing.T, image []byte, ofStub int) {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	optional := f.OptionalHeader.(*pe.OptionalHeader64)
	var end uint32
	for i, s := range f.Sections {
		if i >= ofStub && (s.VirtualAddress%optional.SectionAlignment != 0 || s.Offset%optional.FileAlignment != 0 || s.Size%optional.FileAlignment != 0) {
			t.Errorf("section %s is not aligned: %+v", s.Name, s.SectionHeader)
		}
		if s.VirtualAddress < end {
			t.Errorf("section %s at %#x overlaps the one before", s.Name, s.VirtualAddress)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	if optional.SizeOfImage != align(end, optional.SectionAlignment) {
		t.Errorf("image has %#x bytes in memory, its sections end at %#x", optional.SizeOfImage, end)
	}
	if optional.CheckSum != 0 || f.NumberOfSymbols != 0 || len(image)%int(optional.FileAlignment) != 0 {
		t.Errorf("check sum %#x, %d symbols, %d bytes", optional.CheckSum, f.NumberOfSymbols, len(image))
	}
}

func TestObjdump(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil && os.Getenv("CI") == "" {
		t.Skip("objdump is not installed")
	}
	image, err := Build(stub(t), testSections())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-h", path).CombinedOutput()
	if err != nil {
		t.Fatalf("objdump: %v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	for _, s := range testSections() {
		if !slices.ContainsFunc(lines, func(l string) bool {
			fields := strings.Fields(l)
			return len(fields) > 2 && fields[1] == s.Name && fields[2] == fmt.Sprintf("%08x", len(s.Data))
		}) {
			t.Errorf("objdump does not show %s with %#x bytes:\n%s", s.Name, len(s.Data), out)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	good := stub(t)
	coffAt := int(binary.LittleEndian.Uint32(good[60:])) + 4
	patch := func(at int, b ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[coffAt+at:], b)
		return bad
	}
	f, err := pe.NewFile(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	tableEnd := coffAt + coffSize + optionalSize + len(f.Sections)*sectionSize
	small := patch(coffSize+60, byte(tableEnd+40), byte((tableEnd+40)>>8)) // SizeOfHeaders
	tests := []struct {
		name     string
		stub     []byte
		sections []Section
		want     string
	}{
		{"no stub", nil, nil, "build UKI: stub: EOF"},
		{"stub cut", good[:len(good)/2], nil, "build UKI: stub: "},
		{"32-bit stub", patch(coffSize, 0x0b, 0x01), nil, "build UKI: stub: "},
		{"signed stub", patch(coffSize+112+4*8, 0, 1, 0, 0, 8, 0, 0, 0), nil, "build UKI: stub: it is signed, expected an unsigned one"},
		{"odd alignment", patch(coffSize+32, 3), nil, "build UKI: stub: file alignment 512, section alignment "},
		{"no room", small, testSections(), "build UKI: 5 sections to add, the stub's headers have room for 1"},
		{"unknown section", good, []Section{{".text", []byte("x")}}, `build UKI: section ".text", expected one of [.osrel`},
		{"section twice", good, []Section{{".linux", []byte("x")}, {".osrel", []byte("x")}, {".linux", []byte("x")}}, "build UKI: section .linux is given twice"},
		{"section of the stub", good, []Section{{".sbat", []byte("x")}}, "build UKI: section .sbat is in the stub already"},
		{"empty section", good, []Section{{".linux", nil}}, "build UKI: section .linux is empty"},
		{"too large", good, []Section{{".initrd", make([]byte, maxImageBytes)}}, "build UKI: section .initrd makes the image larger than 1073741824 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Build(tt.stub, tt.sections); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// tinyStub is the smallest program with one section that Build takes.
func tinyStub() []byte {
	b := make([]byte, 1024)
	copy(b, "MZ")
	b[60] = 64
	copy(b[64:], "PE\x00\x00")
	put(b[68:], pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: optionalSize})
	put(b[68+coffSize:], pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: 4096, FileAlignment: 512, SizeOfHeaders: 512, NumberOfRvaAndSizes: 16})
	text := pe.SectionHeader32{VirtualSize: 3, VirtualAddress: 4096, SizeOfRawData: 512, PointerToRawData: 512}
	copy(text.Name[:], ".text")
	put(b[68+coffSize+optionalSize:], text)
	return b
}

func FuzzSections(f *testing.F) {
	image, err := Build(tinyStub(), []Section{{".osrel", []byte("ID=holdfast")}, {".linux", []byte("kernel")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Add(image[:700])
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, image []byte) {
		sections, err := Sections(bytes.NewReader(image))
		if err != nil {
			return
		}
		for _, s := range sections {
			if len(s.Data) > len(image) {
				t.Errorf("section %s has %d bytes of %d", s.Name, len(s.Data), len(image))
			}
		}
	})
}

func FuzzBuild(f *testing.F) {
	f.Add(tinyStub(), []byte("panic=10"), []byte("kernel"))
	f.Fuzz(func(t *testing.T, stub, cmdline, linux []byte) {
		image, err := Build(stub, []Section{{".cmdline", cmdline}, {".linux", linux}})
		if err != nil {
			return
		}
		sections, err := Sections(bytes.NewReader(image))
		if err != nil {
			return // of the stub's own sections
		}
		n := len(sections)
		if n < 2 || !bytes.Equal(sections[n-2].Data, cmdline) || !bytes.Equal(sections[n-1].Data, linux) {
			t.Errorf("built and read: %+v", sections)
		}
	})
}
