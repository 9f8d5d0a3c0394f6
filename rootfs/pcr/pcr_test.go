package pcr

import (
	"bytes"
	"crypto"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/rootfs/gpt"
)

// program is a PE file with sections of which the file holds as much as given;
// padded ones are longer in memory.
func program(t testing.TB, padded uint32, sections ...[2]string) []byte {
	t.Helper()
	const start = 4096
	b := make([]byte, start)
	copy(b, "MZ")
	b[60] = 64
	copy(b[64:], "PE\x00\x00")
	at := 68
	put := func(v any) {
		n, err := binary.Encode(b[at:], binary.LittleEndian, v)
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	put(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(sections)), SizeOfOptionalHeader: 240})
	put(pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: 4096, FileAlignment: 512, SizeOfHeaders: start, NumberOfRvaAndSizes: 16})
	for i, s := range sections {
		size := uint32(len(s[1]))
		h := pe.SectionHeader32{
			VirtualSize: size + padded, VirtualAddress: uint32(i+1) << 12, SizeOfRawData: size, PointerToRawData: uint32(len(b)),
		}
		copy(h.Name[:], s[0])
		put(h)
		b = append(b, s[1]...)
	}
	return b
}

// replay extends digests of data into a register that is zero.
func replay(h crypto.Hash, data ...string) []byte {
	value := make([]byte, h.Size())
	for _, d := range data {
		value = Extend(h, value, sum(h, []byte(d)))
	}
	return value
}

func TestUKI(t *testing.T) {
	image := program(t, 2, [2]string{".text", "code"}, [2]string{".pcrsig", "{}"}, [2]string{".pcrpkey", "key"}, [2]string{".cmdline", "quiet"},
		[2]string{".linux", "kernel"}, [2]string{".linux", "second"})
	r, err := UKI(image)
	if err != nil {
		t.Fatal(err)
	}
	extended := []string{".linux\x00", "kernel\x00\x00", ".cmdline\x00", "quiet\x00\x00", ".pcrpkey\x00", "key\x00\x00"}
	for path, phases := range map[string][]string{
		"": nil, "enter-initrd": {"enter-initrd"}, "enter-initrd:leave-initrd": {"enter-initrd", "leave-initrd"},
		"enter-initrd:leave-initrd:sysinit:ready:shutdown": {"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown"},
	} {
		for bank, h := range Banks() {
			want := replay(h, slices.Concat(extended, phases)...)
			if got, err := r.Value(bank, path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, phases %q: %x, %v, want %x", bank, path, got, err, want)
			}
		}
	}
	if _, err := r.Value("sha1", ""); err == nil {
		t.Error("a bank that is not predicted has a value")
	}
	if _, err := r.Value("sha256", "ready"); err == nil {
		t.Error("a path that is no path has a value")
	}
}

func TestUKIErrors(t *testing.T) {
	linux := [2]string{".linux", "kernel"}
	cut := program(t, 0, linux)
	huge := program(t, maxSectionBytes, linux)
	for _, tt := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"not a program", []byte("#!/bin/sh"), "predict PCR 11: read UKI: "},
		{"no kernel", program(t, 0, [2]string{".text", "code"}), "predict PCR 11: read UKI: no section .linux"},
		{"profiles", program(t, 0, linux, [2]string{".profile", "ID=x"}), "predict PCR 11: read UKI: section .profile: what is measured depends on the machine"},
		{"cut", cut[:len(cut)-1], "predict PCR 11: read UKI: section .linux ends outside of the image"},
		{"huge", huge, "predict PCR 11: read UKI: section .linux ends outside of the image"},
	} {
		if _, err := UKI(tt.image); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
}

// list is an EFI_SIGNATURE_LIST.
func list(kind string, entries ...string) []byte {
	g, err := gpt.ParseGUID(kind)
	if err != nil {
		panic(err)
	}
	size := ownerSize + len(entries[0])
	b := g[:]
	for _, n := range []int{listHeaderSize + size*len(entries), 0, size} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, e := range entries {
		b = append(append(b, strings.Repeat("o", ownerSize)...), e...)
	}
	return b
}

const certSHA256 = "c1c41626-504c-4092-aca9-41f936934328"

func TestAuthority(t *testing.T) {
	db := slices.Concat(list(certSHA256, "BBB"), list(certX509, "AAA", "BBB"), list(certX509, "CCCC"))
	for cert, want := range map[string]string{
		"BBB": "", "CCCC": "", "AAA": "", "D": "db does not have the certificate that signed it",
	} {
		got, err := authority(db, []byte(cert))
		if want == "" && (err != nil || string(got) != strings.Repeat("o", ownerSize)+cert) {
			t.Errorf("%s: %q, %v", cert, got, err)
		}
		if want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: error %v, want %s", cert, err, want)
		}
	}
	for n := range db {
		if got, err := authority(db[:n], []byte("CCCC")); err == nil {
			t.Errorf("cut at %d: %q", n, got)
		}
	}
}

func TestVerified(t *testing.T) {
	v := Variables{PK: []byte("pk"), KEK: []byte("kek"), DB: list(certX509, "one", "two")}
	p := func(name, cert string) Program { return Program{Name: name, Cert: []byte(cert)} }
	whats := func(programs ...Program) string {
		r, err := Verified(v, programs)
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, e := range r.Events[6:] {
			all = append(all, e.What)
		}
		return strings.Join(all, ", ")
	}
	for _, tt := range []struct{ got, want string }{
		{whats(p("a", "one"), p("b", "one")), "db entry that verified a"},
		{whats(p("a", "two"), p("b", "one")), "db entry that verified a, db entry that verified b"},
		{whats(p("a", "two"), p("b", "other")), "predict PCR 7: program b: db does not have the certificate that signed it"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	kernel, err := UKI(program(t, 0, [2]string{".linux", "kernel"}))
	if err != nil {
		t.Fatal(err)
	}
	p := &Prediction{Version: "1", PCRs: []Register{kernel}}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(p) {
		t.Errorf("came back as %v, %v", back, err)
	}
	if _, err := back.Register(Kernel); err != nil {
		t.Error(err)
	}
	if _, err := back.Register(7); err == nil || err.Error() != "PCR 7 is not predicted" {
		t.Errorf("a register that is not there: %v", err)
	}
	digest := kernel.Events[1].Banks["sha256"].Digest
	forged := bytes.Replace(data, fmt.Appendf(nil, "%x", digest), []byte(strings.Repeat("0", 64)), 1)
	if _, err := Parse(forged); err == nil || !strings.Contains(err.Error(), "event 1 (section .linux): its sha256 value does not follow") {
		t.Errorf("a changed digest: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	r, err := UKI(program(f, 0, [2]string{".linux", "kernel"}))
	if err != nil {
		f.Fatal(err)
	}
	data, err := (&Prediction{PCRs: []Register{r}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(again); err != nil {
			t.Errorf("%v\n%s", err, again)
		}
	})
}

func FuzzUKI(f *testing.F) {
	f.Add(program(f, 4, [2]string{".linux", "kernel"}, [2]string{".osrel", "ID=x"}))
	f.Fuzz(func(_ *testing.T, image []byte) {
		_, _ = UKI(image)
	})
}

func FuzzAuthority(f *testing.F) {
	f.Add(list(certX509, "one", "two"), []byte("two"))
	f.Fuzz(func(t *testing.T, db, cert []byte) {
		if entry, err := authority(db, cert); err == nil && !bytes.HasSuffix(entry, cert) {
			t.Errorf("%x is not the entry of %x", entry, cert)
		}
	})
}
