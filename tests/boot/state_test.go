package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/init/status"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// usedDisk boots a node once on a raw disk and shuts it down in order.
func usedDisk(t *testing.T, rel *release.Release) *disk {
	t.Helper()
	cfg := rel.Machine(t)
	cfg.CopyDisk = true
	vm := qemu.StartT(t, cfg)
	release.Up(t, vm)
	release.PowerOff(t, vm)
	return openDisk(t, vm.Disk())
}

// boots starts a machine on the disk itself and waits until it is up.
func boots(t *testing.T, rel *release.Release, d *disk) (*qemu.VM, status.Report) {
	t.Helper()
	cfg := rel.Machine(t)
	cfg.Disk, cfg.DiskSize, cfg.InPlace = d.path, 0, true
	vm := qemu.StartT(t, cfg)
	return vm, release.Up(t, vm)
}

func TestStateGrowsIsKeptAndIsRepaired(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := usedDisk(t, rel)
	if _, size := d.partition(t, "state"); size < 1400<<20 {
		t.Errorf("the state partition has %d MiB; it did not grow to the disk of 4 GiB", size>>20)
	}
	id := readState(t, d, "/lib/holdfast/machine-id")
	if len(strings.TrimSpace(id)) != 32 {
		t.Fatalf("machine id %q", id)
	}

	// The disk grows again, and the file system's first superblock and group
	// descriptors are lost: fsck has a backup.
	if err := os.Truncate(d.path, 5<<30); err != nil {
		t.Fatal(err)
	}
	d.change(t, "state", 0, 64<<10, func(b []byte) { clear(b) })
	vm, report := boots(t, rel, d)
	if report.Posture.State != "ext4" || !fault("was damaged; e2fsck -y repaired it")(report) {
		t.Errorf("state on %s, faults %+v, want a repaired ext4", report.Posture.State, report.Faults)
	}
	release.PowerOff(t, vm)
	d = openDisk(t, d.path)
	if _, size := d.partition(t, "state"); size < 2400<<20 {
		t.Errorf("the state partition has %d MiB after the disk grew to 5 GiB", size>>20)
	}
	if again := readState(t, d, "/lib/holdfast/machine-id"); again != id {
		t.Errorf("machine id %q became %q", id, again)
	}
	checkState(t, d.path)
}

func TestStateBeyondRepairIsKeptForPeople(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := usedDisk(t, rel)
	_, size := d.partition(t, "state")
	wreck := min(size, 1<<30) // every copy of the superblock a small file system has
	d.change(t, "state", 0, int(wreck), func(b []byte) {
		for i := range b {
			b[i] = 0xa5
		}
	})
	vm, report := boots(t, rel, d)
	if report.Posture.State != "tmpfs" || !fault("state is in memory only")(report) {
		t.Errorf("state on %s, faults %+v, want tmpfs and a fault", report.Posture.State, report.Faults)
	}
	get(t, vm, "/")
	release.PowerOff(t, vm)
	d.change(t, "state", 1<<20, 1, func(b []byte) {
		if b[0] != 0xa5 {
			t.Error("the volume was written to")
		}
		b[0]++
	})
}

func TestUnfinishedStateIsMadeAgain(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := copyDisk(t, rel)
	// A first boot that lost power within mkfs: half a superblock, no mark.
	d.change(t, "state", 1024, 512, func(b []byte) {
		for i := range b {
			b[i] = byte(i)
		}
	})
	_, report := boots(t, rel, d)
	if report.Posture.State != "ext4" {
		t.Errorf("state on %s, faults %+v", report.Posture.State, report.Faults)
	}
}

func TestFullStateStillBoots(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := usedDisk(t, rel)
	fillState(t, d)
	vm, report := boots(t, rel, d)
	if !fault("the state volume is full")(report) {
		t.Errorf("faults %+v, want one that names the full volume", report.Faults)
	}
	get(t, vm, "/")
	release.PowerOff(t, vm)
}

func TestNoStatePartition(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	d := copyDisk(t, rel)
	d.remove(t, "state")
	_, report := boots(t, rel, d)
	if report.Posture.State != "tmpfs" || !fault(`no partition "state"`)(report) {
		t.Errorf("state on %s, faults %+v", report.Posture.State, report.Faults)
	}
}

// readState reads a file of the state volume with debugfs, from outside.
func readState(t *testing.T, d *disk, path string) string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+path, d.extract(t, "state")).Output()
	if err != nil {
		t.Fatalf("debugfs: %v", err)
	}
	return string(out)
}

// fillState fills the state volume with one file, reserved blocks included,
// with debugfs.
func fillState(t *testing.T, d *disk) {
	t.Helper()
	part := d.extract(t, "state")
	st, err := os.Stat(part)
	if err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// debugfs writes holes as holes: every block must hold something.
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i) | 1
	}
	for range st.Size() >> 20 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("debugfs", "-w", "-R", "write "+big+" filler", part).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "block") {
		t.Logf("debugfs: %v: %s", err, out) // it stops when the volume is full
	}
	if out, err := exec.Command("e2fsck", "-fy", part).CombinedOutput(); err != nil {
		t.Logf("e2fsck: %v: %s", err, out)
	}
	d.insert(t, "state", part)
}
