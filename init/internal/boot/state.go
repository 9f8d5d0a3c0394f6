package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/control"
	"holdfast/init/status"
	"holdfast/kernel/block"
	"holdfast/kernel/mount"
	"holdfast/rootfs/gpt"
	"holdfast/rootfs/slot"
)

// # Decisions
//
// Whether the state file system was ever completed is a bit in its partition
// entry, which the GPT keeps twice and under a checksum, and not a guess from
// the file system itself: only where the bit is clear is a file system made.
// One that was completed is repaired; when that fails too, the node runs with
// its state in memory and says so, and the volume is left for people to look at.

const (
	stateMount = "/var"
	stateDir   = "/var/lib/holdfast" // our own part of it
	fsckLimit  = 10 * time.Minute
	mkfsLimit  = 5 * time.Minute
)

// stateDirs are made on the state volume when they are missing.
var stateDirs = []string{
	stateDir, "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/var/log/holdfast", "/var/tmp",
}

// daemonDirs belong to daemons that are not root, by user.
var daemonDirs = map[string]int{stateDir + "/apid": control.UserAPI}

func mountState(n *Node) (string, error) {
	kind := "ext4"
	detail, err := n.mountStateVolume()
	if err != nil {
		n.Report.Fault("mount state", fmt.Sprintf("state is in memory only and lost at the next boot: %v", err))
		kind, detail = "tmpfs", "tmpfs"
		m := mount.Mount{Source: "tmpfs", Target: stateMount, Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev, Data: "mode=0755,size=50%"}
		if err := m.Do(); err != nil {
			return "", err
		}
	}
	n.Report.Update(func(r *status.Report) { r.Posture.State = kind })
	for _, dir := range stateDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			n.Report.Fault("mount state", err.Error())
		}
	}
	for dir, user := range daemonDirs {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, user, user)); err != nil {
			n.Report.Fault("mount state", err.Error())
		}
	}
	n.keepReserve()
	return detail, nil
}

func (n *Node) mountStateVolume() (string, error) {
	entry := n.table.ByName(slot.StateLabel)
	if entry == nil {
		return "", fmt.Errorf("no partition %q on %s", slot.StateLabel, n.disk.Node())
	}
	dev, ok := n.disk.Partition(entry.Number)
	if !ok {
		return "", fmt.Errorf("no device node for partition %d of %s", entry.Number, n.disk.Node())
	}
	if err := n.growState(entry.Number); err != nil {
		n.Report.Fault("mount state", fmt.Sprintf("the volume keeps its size: %v", err))
	}
	fresh := entry.Attributes&gpt.AttrFormatted == 0
	prepare := n.repair
	if fresh {
		prepare = n.format
	}
	if err := prepare(dev); err != nil {
		return "", err
	}
	m := mount.Mount{Source: dev, Target: stateMount, Type: "ext4", Flags: mount.NoSuid | mount.NoDev | mount.NoAtime}
	if err := m.Do(); err != nil {
		return "", err
	}
	if fresh {
		return dev + ", new", n.markFormatted(entry.Number)
	}
	if err := n.tool(mkfsLimit, "/usr/sbin/resize2fs", dev); err != nil { // does nothing where nothing is to do
		n.Report.Fault("mount state", err.Error())
	}
	return dev, nil
}

// growState moves the backup GPT to the end of a disk that has become larger
// and extends the state partition to it.
func (n *Node) growState(number int) error {
	before := *n.table.ByNumber(number)
	if err := n.table.Grow(uint64(n.disk.SizeBytes / int64(n.disk.SectorSize))); err != nil {
		return err
	}
	if err := n.table.Extend(number); err != nil {
		return err
	}
	after := *n.table.ByNumber(number)
	if after == before {
		return nil
	}
	if err := n.writeTable(); err != nil {
		return err
	}
	sector := int64(n.disk.SectorSize)
	return block.ResizePartition(n.disk.Node(), number, int64(after.FirstLBA)*sector, int64(after.Sectors())*sector)
}

func (n *Node) writeTable() error {
	f, err := os.OpenFile(n.disk.Node(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(n.table.Write(f), f.Close())
}

func (n *Node) markFormatted(number int) error {
	unix.Sync()
	n.table.ByNumber(number).Attributes |= gpt.AttrFormatted
	if err := n.writeTable(); err != nil {
		return fmt.Errorf("mark state as formatted: %w", err)
	}
	return nil
}

func (n *Node) format(dev string) error {
	return n.tool(mkfsLimit, "/usr/sbin/mkfs.ext4", "-q", "-F", "-L", "state", "-m", "1",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,discard", dev)
}

// repair checks the file system: what is safe first (-p), then everything
// (-y). Status bits are those of e2fsck(8): below 4, nothing wrong is left.
func (n *Node) repair(dev string) error {
	st, _, err := n.run(fsckLimit, "/usr/sbin/e2fsck", "-p", dev)
	if err != nil {
		return err
	}
	if st.OK() {
		return nil
	}
	how := "e2fsck -p"
	if st.Failed(4) {
		how = "e2fsck -y"
		st, out, err := n.run(fsckLimit, "/usr/sbin/e2fsck", "-y", dev)
		if err != nil {
			return err
		}
		if st.Failed(4) {
			return fmt.Errorf("repair %s: e2fsck %s: %s", dev, st, lastLine(out))
		}
	}
	n.Report.Fault("mount state", fmt.Sprintf("the file system on %s was damaged; %s repaired it", dev, how))
	return nil
}

// tool runs a program that must succeed.
func (n *Node) tool(limit time.Duration, args ...string) error {
	st, out, err := n.run(limit, args...)
	if err != nil {
		return err
	}
	if !st.OK() {
		return fmt.Errorf("%s %s: %s", filepath.Base(args[0]), st, lastLine(out))
	}
	return nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// A file of reserveBytes is set aside on the state volume. When the volume is
// fuller than reserveLow at boot, the file is given up, so that a node whose
// disk is full still has the room that containerd and kubelet need to start
// and clean up.
const (
	reserveFile  = stateDir + "/reserve"
	reserveBytes = 64 << 20
	reserveLow   = 32 << 20
)

func (n *Node) keepReserve() {
	use, err := mount.Stat(stateMount)
	if err != nil {
		n.Report.Fault("mount state", err.Error())
		return
	}
	switch _, err := os.Stat(reserveFile); {
	case use.FreeBytes < reserveLow:
		n.Report.Fault("mount state", fmt.Sprintf("the state volume is full (%d of %d MiB free); the reserve is used up to start",
			use.FreeBytes>>20, use.TotalBytes>>20))
		if err := os.Remove(reserveFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.Report.Fault("mount state", err.Error())
		}
	case errors.Is(err, fs.ErrNotExist) && use.FreeBytes > 4*reserveBytes:
		if err := setAside(reserveFile, reserveBytes); err != nil {
			n.Report.Fault("mount state", fmt.Sprintf("set reserve aside: %v", err))
		}
	}
}

func setAside(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
}
