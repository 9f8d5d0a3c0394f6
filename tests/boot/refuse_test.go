package boot

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/rootfs/gpt"
	"holdfast/rootfs/image"
	"holdfast/rootfs/slot"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// otherHash changes the root hash of a command line in its first digit.
func otherHash(line string) string {
	i := strings.Index(line, "roothash=") + len("roothash=")
	digit := "0"
	if line[i] == '0' {
		digit = "1"
	}
	return line[:i] + digit + line[i+1:]
}

// refusals are disks that must not boot, and the one line that says why.
var refusals = []struct {
	name  string
	spoil func(*testing.T, *release.Release, *disk)
	want  string
}{
	{"bit flipped in the root's superblock", func(t *testing.T, r *release.Release, d *disk) {
		d.flip(t, slot.RootLabel(r.Version), 1024+40)
	}, `verity: .* data block 0 is corrupted`},
	{"bit flipped in a file that is read at boot", func(t *testing.T, r *release.Release, d *disk) {
		d.flip(t, slot.RootLabel(r.Version), blockOf(t, r, "/usr/sbin/init")+100)
	}, `verity: .* data block \d+ is corrupted`},
	{"bit flipped in the hash tree", func(t *testing.T, r *release.Release, d *disk) {
		d.flip(t, slot.VerityLabel(r.Version), 4096+7)
	}, `verity: .* metadata block \d+ is corrupted`},
	{"verity superblock overwritten", func(t *testing.T, r *release.Release, d *disk) {
		d.flip(t, slot.VerityLabel(r.Version), 0)
	}, `holdfast: boot: open verity: /dev/vda3: parse verity superblock: no signature`},
	{"root hash of another root", func(t *testing.T, r *release.Release, d *disk) {
		d.replaceUKI(t, r, recmdline(t, r, otherHash, r.Keys.DB))
	}, `holdfast: boot: find root: no root partition [0-9a-f-]{36} within`},
	{"root hash that the partitions claim and do not have", func(t *testing.T, r *release.Release, d *disk) {
		d.replaceUKI(t, r, recmdline(t, r, otherHash, r.Keys.DB))
		d.retable(t, func(g *gpt.Table) {
			root := g.ByName(slot.RootLabel(r.Version))
			root.UUID = otherGUID(t, root.UUID)
		})
	}, `verity: .* metadata block \d+ is corrupted`},
	{"no root partition", func(t *testing.T, r *release.Release, d *disk) { d.remove(t, slot.RootLabel(r.Version)) },
		`holdfast: boot: find root: no root partition [0-9a-f-]{36} within`},
	{"no verity partition", func(t *testing.T, r *release.Release, d *disk) { d.remove(t, slot.VerityLabel(r.Version)) },
		`holdfast: boot: find root: no verity partition [0-9a-f-]{36} beside the root on /dev/vda`},
	{"root file system of the wrong type", func(t *testing.T, r *release.Release, d *disk) { wrongType(t, r, d) },
		`holdfast: boot: mount root: /dev/mapper/root holds no EROFS file system`},
	{"no root hash at all", func(t *testing.T, r *release.Release, d *disk) {
		d.replaceUKI(t, r, recmdline(t, r, func(s string) string { return strings.Replace(s, "roothash=", "r00thash=", 1) }, r.Keys.DB))
	}, `holdfast: boot: read command line: no roothash= on the command line`},
}

func TestRefusesToBoot(t *testing.T) {
	rel := release.Open(t)
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := copyDisk(t, rel)
			c.spoil(t, rel, d)
			cfg := rel.Machine(t)
			cfg.Disk, cfg.DiskSize, cfg.InPlace = d.path, 0, true
			fails(t, qemu.StartT(t, cfg), c.want)
		})
	}
}

func TestFirmwareRefusesForeignSignature(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := copyDisk(t, rel)
	d.replaceUKI(t, rel, recmdline(t, rel, func(s string) string { return s }, foreign(t)))
	cfg := rel.Machine(t)
	cfg.Disk, cfg.DiskSize, cfg.InPlace = d.path, 0, true
	vm := qemu.StartT(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := vm.WaitConsole(ctx, regexp.MustCompile(`(?i)security violation|access denied`)); err != nil {
		t.Fatal(err)
	}
	for _, line := range vm.ConsoleLines() {
		if strings.Contains(line.Text, "mount kernel") {
			t.Error("PID 1 ran from an image that the firmware must refuse")
		}
	}
}

func TestPostureEnforcedWithoutSecureBoot(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := copyDisk(t, rel)
	// Without keys to enrol, the firmware stays in set-up mode and starts anything.
	offset, _ := d.partition(t, "ESP")
	if out, err := exec.Command("mdeltree", "-i", d.path+"@@"+itoa(offset), "::/loader/keys").CombinedOutput(); err != nil {
		t.Fatalf("mdeltree: %v: %s", err, out)
	}
	cfg := rel.Machine(t)
	cfg.Disk, cfg.DiskSize, cfg.InPlace, cfg.Vars, cfg.NoTPM = d.path, 0, true, "", true
	fails(t, qemu.StartT(t, cfg), `holdfast: boot: check posture: Secure Boot is off; no TPM 2\.0`)
}

func (d *disk) remove(t *testing.T, name string) {
	t.Helper()
	e := d.table.ByName(name)
	if e == nil {
		t.Fatalf("no partition %q", name)
	}
	if out, err := exec.Command("sgdisk", "-d", strconv.Itoa(e.Number), d.path).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v: %s", err, out)
	}
}

// blockOf asks dump.erofs where a file's data lies in the root image.
func blockOf(t *testing.T, rel *release.Release, path string) int64 {
	t.Helper()
	out, err := exec.Command("dump.erofs", "-e", "--path="+path, rel.RootImage()).CombinedOutput()
	if err != nil {
		t.Fatalf("dump.erofs: %v: %s", err, out)
	}
	// "   0:        0..   65536 |   65536 :   12345..   45678 |   33333"
	m := regexp.MustCompile(`(?m)^\s*0:\s+\d+\.\.\s*\d+\s*\|\s*\d+\s*:\s*(\d+)\.\.`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("dump.erofs shows no extent of %s:\n%s", path, out)
	}
	at, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func otherGUID(t *testing.T, g gpt.GUID) gpt.GUID {
	t.Helper()
	s := g.String()
	other, err := gpt.ParseGUID(strings.TrimPrefix(otherHash("roothash="+s), "roothash="))
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// wrongType gives the disk a root that is sound to dm-verity and signed, and
// an ext4 file system.
func wrongType(t *testing.T, rel *release.Release, d *disk) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root.erofs")
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", root, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	r, err := image.HashRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	hash := func(line string) string {
		old := regexp.MustCompile(`roothash=[0-9a-f]{64}`)
		return old.ReplaceAllString(line, strings.Fields(image.Cmdline(r.Hash, "enforce"))[0])
	}
	d.replaceUKI(t, rel, recmdline(t, rel, hash, rel.Keys.DB))
	d.insert(t, slot.RootLabel(rel.Version), r.Image)
	d.insert(t, slot.VerityLabel(rel.Version), r.Tree)
	rootUUID, verityUUID := slot.UUIDs(r.Hash)
	d.retable(t, func(g *gpt.Table) {
		g.ByName(slot.RootLabel(rel.Version)).UUID = rootUUID
		g.ByName(slot.VerityLabel(rel.Version)).UUID = verityUUID
	})
	if _, err := os.Stat(r.Tree); err != nil {
		t.Fatal(err)
	}
}
