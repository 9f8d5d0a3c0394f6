package slot

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/rootfs/gpt"
)

func TestSlot(t *testing.T) {
	tests := []struct {
		slot, other  Slot
		name         string
		root, verity int
	}{
		{A, B, "A", 2, 3},
		{B, A, "B", 4, 5},
	}
	for _, tt := range tests {
		s := tt.slot
		if s.Other() != tt.other || s.String() != tt.name || s.RootNumber() != tt.root || s.VerityNumber() != tt.verity {
			t.Errorf("%+v: other %v, root %d, verity %d", tt, s.Other(), s.RootNumber(), s.VerityNumber())
		}
	}
}

func TestUUIDs(t *testing.T) {
	const hash = "000102030405060708090a0b0c0d0e0ff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
	raw, err := hex.DecodeString(hash)
	if err != nil {
		t.Fatal(err)
	}
	root, verity := UUIDs([32]byte(raw))
	if got := strings.ReplaceAll(root.String()+verity.String(), "-", ""); got != hash {
		t.Errorf("UUIDs %s and %s are not the root hash", root, verity)
	}
}

func TestCheckVersion(t *testing.T) {
	for _, v := range []string{"0.1.0", "1.2.3-rc.1", "1.0~pre^2", strings.Repeat("1", 29)} {
		if err := CheckVersion(v); err != nil {
			t.Error(err)
		}
		if n := len(VerityLabel(v)); n > 36 {
			t.Errorf("label of %s has %d characters", v, n)
		}
	}
	tests := []struct{ version, want string }{
		{"", "version is empty"},
		{"v1.0", `version "v1.0" does not start with a digit`},
		{"1.0+git", `version "1.0+git": character 4 is none of 0-9 a-z . - ~ ^`},
		{"1_0", `version "1_0": character 2 is none of 0-9 a-z . - ~ ^`},
		{"1.0A", `version "1.0A": character 4 is none of 0-9 a-z . - ~ ^`},
		{"1/../x", `version "1/../x": character 2 is none of 0-9 a-z . - ~ ^`},
		{strings.Repeat("1", 30), `version "111111111111111111111111111111" has 30 characters, at most 29 fit`},
	}
	for _, tt := range tests {
		if err := CheckVersion(tt.version); err == nil || err.Error() != tt.want {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestEntry(t *testing.T) {
	tests := []struct {
		name string
		want Entry
		bad  bool
	}{
		{"holdfast_0.1.0.efi", Entry{Version: "0.1.0"}, false},
		{"holdfast_0.1.0+3-0.efi", NewEntry("0.1.0"), false},
		{"holdfast_1.0-rc.2+0-3.efi", Entry{"1.0-rc.2", true, 0, 3}, true},
	}
	for _, tt := range tests {
		got, err := ParseEntry(tt.name)
		if err != nil || got != tt.want || got.FileName() != tt.name || got.Bad() != tt.bad {
			t.Errorf("%s: %+v, %v, file name %s, bad %v", tt.name, got, err, got.FileName(), got.Bad())
		}
		if e := got.Blessed(); e.Bad() || e.FileName() != "holdfast_"+e.Version+".efi" {
			t.Errorf("%s blessed: %s", tt.name, e.FileName())
		}
		if e := got.Condemned(); !e.Bad() || !strings.Contains(e.FileName(), "+0-") {
			t.Errorf("%s condemned: %s", tt.name, e.FileName())
		}
	}
}

func TestParseEntryErrors(t *testing.T) {
	tests := []struct{ name, want string }{
		{"holdfast_0.1.0", "expected holdfast_<version>.efi"},
		{"other_0.1.0.efi", "expected holdfast_<version>.efi"},
		{"holdfast_.efi", "version is empty"},
		{"holdfast_0.1.0+.efi", `counter "+", expected one digit, a dash, one digit`},
		{"holdfast_0.1.0+3.efi", `counter "+3", expected one digit, a dash, one digit`},
		{"holdfast_0.1.0+10-0.efi", `counter "+10-0", expected one digit, a dash, one digit`},
		{"holdfast_0.1.0+3-0+1.efi", `counter "+3-0+1", expected one digit, a dash, one digit`},
	}
	for _, tt := range tests {
		want := `parse boot entry "` + tt.name + `": ` + tt.want
		if _, err := ParseEntry(tt.name); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, s := range []string{"holdfast_0.1.0.efi", "holdfast_0.1.0+3-0.efi", "holdfast_1~a^b-c+0-9.efi", "holdfast_.efi"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if e, err := ParseEntry(name); err == nil && e.FileName() != name {
			t.Errorf("%q parsed as %+v, named %q", name, e, e.FileName())
		}
	})
}

func TestNewTable(t *testing.T) {
	const size = 4 << 30
	for _, sectorSize := range []int{512, 4096} {
		table, err := NewTable(sectorSize, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Validate(); err != nil {
			t.Error(err)
		}
		for _, e := range table.Entries {
			if e.FirstLBA*uint64(sectorSize)%mib != 0 || e.Sectors()*uint64(sectorSize)%mib != 0 {
				t.Errorf("partition %d is not aligned: LBA %d to %d", e.Number, e.FirstLBA, e.LastLBA)
			}
		}
		if end := (table.ByName(StateLabel).LastLBA + 1) * uint64(sectorSize); end != size-mib {
			t.Errorf("state ends at byte %d", end)
		}
	}
	if _, err := NewTable(512, 2<<30); err == nil || err.Error() != "lay out disk: 2147483648 bytes, expected at least 2736783360" {
		t.Errorf("small disk: %v", err)
	}
}

func TestSgdisk(t *testing.T) {
	if _, err := exec.LookPath("sgdisk"); err != nil && os.Getenv("CI") == "" {
		t.Skip("sgdisk is not installed")
	}
	const size = 4 << 30
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(size); err != nil {
		t.Fatal(err)
	}
	table, err := NewTable(512, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Write(disk); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sgdisk", "-v", "-p", disk.Name()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	got, err := gpt.Read(disk, size, 512)
	if err != nil || len(got.Entries) != len(Layout()) {
		t.Errorf("read %+v, %v", got, err)
	}
}
