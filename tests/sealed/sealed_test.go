package sealed

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/rootfs/esp"
	"holdfast/rootfs/gpt"
	"holdfast/rootfs/image"
	"holdfast/rootfs/initrd"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/uki"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// machine is what is started: parts of the release, with the test's own init.
type machine struct {
	rel    *release.Release
	init   []byte
	tpmDir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	program := filepath.Join(t.TempDir(), "init")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "holdfast/tests/sealed/cmd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build init: %v\n%s", err, out)
	}
	return &machine{release.Open(t), read(t, program), t.TempDir()}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stub cuts the sections that the build added off the release's UKI.
func stub(t *testing.T, image []byte) []byte {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, s := range f.Sections {
		if s.Name != ".osrel" { // the first that is added
			continue
		}
		cut := bytes.Clone(image[:s.Offset])
		coff := binary.LittleEndian.Uint32(cut[60:]) + 4
		binary.LittleEndian.PutUint16(cut[coff+2:], uint16(i))
		return cut
	}
	t.Fatal("no section .osrel")
	return nil
}

// uki makes a UKI with the test's init, signed for Secure Boot by the release's
// key and for its PCR 11 by policy's.
func (m *machine) uki(t *testing.T, version string, policy *keys.Keys) []byte {
	t.Helper()
	base := read(t, m.rel.UnsignedUKI())
	sections, err := uki.Sections(bytes.NewReader(base))
	if err != nil {
		t.Fatal(err)
	}
	u := image.UKI{Stub: stub(t, base), OSRelease: "ID=holdfast\nVERSION_ID=" + version + "\n", Cmdline: "console=ttyS0 quiet panic=1"}
	for _, s := range sections {
		switch s.Name {
		case ".linux":
			u.Kernel = s.Data
		case ".uname":
			u.Release = string(s.Data)
		case ".pcrpkey":
			u.PolicyKey = s.Data
		}
	}
	if u.Initrd, err = initrd.Build(m.init); err != nil {
		t.Fatal(err)
	}
	unsigned, err := u.Build()
	if err != nil {
		t.Fatal(err)
	}
	db := m.rel.Keys.DB
	signed, err := image.Signer{Key: db.Signer, Cert: db.Cert, Policy: policy.Policy}.SignUKI(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// disk lays out a disk that has only an ESP.
func (m *machine) disk(t *testing.T, signed []byte) string {
	t.Helper()
	const mib, size = 1 << 20, 64 << 20
	dir := t.TempDir()
	partition, disk := filepath.Join(dir, "esp"), filepath.Join(dir, "disk.raw")
	err := esp.Build(t.Context(), partition, size, []esp.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Data: read(t, filepath.Join(m.rel.Dir, "loader.efi"))},
		{Path: slot.EntryDir + "/" + slot.Entry{Version: "1.0.0"}.FileName(), Data: signed},
		{Path: "loader/loader.conf", Data: []byte("timeout 0\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := &gpt.Table{DiskGUID: slot.DefaultUUID(0), SectorSize: 512, Sectors: (size + 2*mib) / 512, Entries: []gpt.Entry{{
		Number: 1, Type: gpt.TypeESP, UUID: slot.DefaultUUID(1), FirstLBA: mib / 512, LastLBA: (size+mib)/512 - 1, Name: "ESP",
	}}}
	if err := f.Truncate(size + 2*mib); err != nil {
		t.Fatal(err)
	}
	if err := table.Write(f); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(read(t, partition), mib); err != nil {
		t.Fatal(err)
	}
	return disk
}

// said is what a machine said: both verdicts, and its token.
type said struct {
	first, later Verdict
	token        string
}

// boot runs a machine to its end. change may alter it.
func (m *machine) boot(t *testing.T, signed []byte, token string, change func(*qemu.Config)) said {
	t.Helper()
	cfg := m.rel.Machine(t)
	cfg.Disk, cfg.DiskSize, cfg.Forwards, cfg.NoNIC, cfg.TPMDir = m.disk(t, signed), 0, nil, true, m.tpmDir
	if token != "" {
		cfg.FWCfg = map[string]string{Token: token}
	}
	if change != nil {
		change(&cfg)
	}
	vm := qemu.StartT(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), release.BootLimit)
	defer cancel()
	if _, err := vm.WaitConsole(ctx, regexp.MustCompile(Mark+" (token|error): ")); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return parse(t, vm.ConsoleLines())
}

func parse(t *testing.T, console []qemu.Line) (s said) {
	t.Helper()
	for _, line := range console {
		what, text, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line.Text), Mark+" "), ": ")
		var err error
		switch {
		case !strings.HasPrefix(line.Text, Mark):
		case what == "first":
			err = json.Unmarshal([]byte(text), &s.first)
		case what == "later":
			err = json.Unmarshal([]byte(text), &s.later)
		case what == "token":
			var token []byte
			token, err = base64.StdEncoding.DecodeString(text)
			s.token = string(token)
		default:
			t.Fatal(line.Text)
		}
		if err != nil {
			t.Fatalf("%s: %v", line.Text, err)
		}
	}
	if s.later.Opened || (s.first.Opened && s.later.PCR != 11) {
		t.Errorf("after leave-initrd: %+v, want that PCR 11 is wrong", s.later)
	}
	return s
}

// TestSealedBoots: the secret is sealed in the first boot, and given away to
// those that the release's policy key signed, on that machine, and to no other.
func TestSealedBoots(t *testing.T) {
	m := newMachine(t)
	ours := m.rel.Keys
	made := m.boot(t, m.uki(t, "1", ours), "", nil)
	if !made.first.Opened {
		t.Fatalf("the boot that sealed it: %+v", made.first)
	}
	t.Logf("unsealing took %d ms", made.first.TookMs)
	foreign := filepath.Join(t.TempDir(), "keys")
	if err := keys.Make(foreign); err != nil {
		t.Fatal(err)
	}
	theirs, err := keys.Load(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		signed []byte
		change func(*qemu.Config)
		want   Verdict
	}{
		{"same UKI", m.uki(t, "1", ours), nil, Verdict{Opened: true}},
		{"newer UKI", m.uki(t, "2", ours), nil, Verdict{Opened: true}},
		{"policy of another key", m.uki(t, "2", theirs), nil, Verdict{Text: "no policy is signed by the key"}},
		{"Secure Boot off", m.uki(t, "1", ours), func(c *qemu.Config) { c.Vars = "" }, Verdict{PCR: 7, Text: "the secret was sealed to"}},
		{"another machine", m.uki(t, "1", ours), func(c *qemu.Config) { c.TPMDir = t.TempDir() }, Verdict{Text: "sealed to another TPM"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := m.boot(t, tt.signed, made.token, tt.change).first
			if got.Opened != tt.want.Opened || got.PCR != tt.want.PCR || !strings.Contains(got.Text, tt.want.Text) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}
