package boot

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/rootfs/slot"
	"holdfast/tests/release"
)

// oracle runs another project's tool, which must be satisfied.
func oracle(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestOracles(t *testing.T) {
	rel := release.Open(t)
	oracle(t, "veritysetup", "verify", rel.RootImage(), rel.RootTree(), rel.RootHash)
	oracle(t, "fsck.erofs", rel.RootImage())
	d := openDisk(t, rel.Disk())
	oracle(t, "fsck.vfat", "-n", d.extract(t, "ESP"))
	if out := oracle(t, "sgdisk", "-v", rel.Disk()); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	cert := filepath.Join(rel.Dir, "keys", "db.crt")
	for _, file := range []string{slot.EntryDir + "/" + slot.Entry{Version: rel.Version}.FileName(), "EFI/BOOT/BOOTX64.EFI"} {
		oracle(t, "sbverify", "--cert", cert, espFile(t, d, file))
	}
	for name, want := range map[string][]byte{slot.RootLabel(rel.Version): read(t, rel.RootImage()), slot.VerityLabel(rel.Version): read(t, rel.RootTree())} {
		if got := read(t, d.extract(t, name)); string(got[:len(want)]) != string(want) {
			t.Errorf("partition %s does not hold what was built", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// espFile copies a file out of the disk's ESP.
func espFile(t *testing.T, d *disk, name string) string {
	t.Helper()
	offset, _ := d.partition(t, "ESP")
	to := filepath.Join(t.TempDir(), filepath.Base(name))
	oracle(t, "mcopy", "-i", d.path+"@@"+itoa(offset), "::/"+name, to)
	return to
}

// TestUKISections takes objdump as the judge of the image's layout.
func TestUKISections(t *testing.T) {
	rel := release.Open(t)
	out := oracle(t, "objdump", "-h", rel.UnsignedUKI())
	for _, want := range []string{".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".sbat", ".pcrpkey"} {
		if !regexp.MustCompile(`(?m)^\s*\d+ ` + regexp.QuoteMeta(want) + `\s`).MatchString(out) {
			t.Errorf("no section %s:\n%s", want, out)
		}
	}
	cmdline := filepath.Join(t.TempDir(), "cmdline")
	oracle(t, "objcopy", "-O", "binary", "--only-section=.cmdline", rel.UnsignedUKI(), cmdline)
	if line := string(read(t, cmdline)); !strings.Contains(line, "roothash="+rel.RootHash) {
		t.Errorf("the command line is %q", line)
	}
}

// TestRootIsMinimal holds what must not be on a node.
func TestRootIsMinimal(t *testing.T) {
	rel := release.Open(t)
	dir := t.TempDir()
	oracle(t, "fsck.erofs", "--extract="+dir, "--overwrite", rel.RootImage())
	if _, err := os.Stat(filepath.Join(dir, "usr/sbin/init")); err != nil {
		t.Fatalf("the root was not extracted: %v", err)
	}
	for _, name := range []string{"sh", "bash", "dash", "busybox", "sshd", "apt", "dpkg", "python3", "perl", "systemd", "modprobe", "su", "sudo"} {
		for _, at := range []string{"usr/bin", "usr/sbin", "usr/lib/systemd"} {
			if _, err := os.Lstat(filepath.Join(dir, at, name)); err == nil {
				t.Errorf("/%s/%s is on the root", at, name)
			}
		}
	}
	if out := oracle(t, "find", dir, "-perm", "/6000"); out != "" {
		t.Errorf("set-uid or set-gid files:\n%s", out)
	}
}

func TestSBOM(t *testing.T) {
	rel := release.Open(t)
	var doc struct {
		SPDXVersion string
		Packages    []struct{ Name, VersionInfo string }
	}
	if err := json.Unmarshal(read(t, filepath.Join(rel.Dir, "sbom.spdx.json")), &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range doc.Packages {
		names = append(names, p.Name)
	}
	for _, want := range []string{"linux", "libc6", "nftables", "k8s.io/kubernetes", "github.com/containerd/containerd/v2", "github.com/opencontainers/runc"} {
		if !slices.Contains(names, want) {
			t.Errorf("the SBOM does not list %s", want)
		}
	}
	if doc.SPDXVersion != "SPDX-2.3" {
		t.Errorf("version %q", doc.SPDXVersion)
	}
}

// TestReproducible builds root, hash tree and unsigned UKI again from a copy
// of the sources in another directory, without the cached root.
func TestReproducible(t *testing.T) {
	rel := release.Open(t)
	top := filepath.Dir(rel.Dir)
	src, out := filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(t.TempDir(), "out")
	oracle(t, "sh", "-c", `mkdir "$1" && cd "$0" && git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1"`, top, src)
	cmd := exec.Command("go", "run", "./hack/build", "-out", out, "-version", rel.Version, "-again")
	built, err := time.Parse(time.RFC3339, rel.Built)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Env = src, append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", built.Unix())) // the copy has no history
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build again: %v\n%s", err, text)
	}
	for _, name := range []string{"root.erofs", "root.verity", "uki.unsigned.efi", "sbom.spdx.json"} {
		if string(read(t, filepath.Join(rel.Dir, name))) != string(read(t, filepath.Join(out, name))) {
			t.Errorf("%s differs between two builds", name)
		}
	}
	hash, err := hex.DecodeString(rel.RootHash)
	if err != nil || len(hash) != 32 {
		t.Errorf("root hash %q", rel.RootHash)
	}
}
