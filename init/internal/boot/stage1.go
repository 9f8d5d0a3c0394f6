package boot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/phase"
	"holdfast/kernel/block"
	"holdfast/kernel/cmdline"
	"holdfast/kernel/dm"
	"holdfast/kernel/mount"
	"holdfast/kernel/uevent"
	"holdfast/rootfs/gpt"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/verity"
)

// Stage1 leads from the initrd to the verified root.
var Stage1 = []Step{
	{Name: "mount kernel", Do: mountEarly},
	{Name: "read command line", Do: parseCmdline},
	{Name: "measure enter", Survive: true, Do: measure("enter-initrd")},
	{Name: "find root", Do: findRoot},
	{Name: "open verity", Do: openVerity},
	{Name: "mount root", Do: mountRoot},
	{Name: "raise clock", Survive: true, Do: raiseClock},
	{Name: "measure leave", Survive: true, Do: measure("leave-initrd")},
}

const (
	newRoot       = "/sysroot"
	partitionWait = 20 * time.Second
	rootName      = "root" // device-mapper name
)

var earlyMounts = []mount.Mount{
	{Source: "proc", Target: "/proc", Type: "proc", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Mode: 0o555},
	{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Mode: 0o555},
	{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: mount.NoSuid | mount.NoExec, Data: "mode=0755", Mode: 0o755},
	{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev, Data: "mode=0755,size=20%", Mode: 0o755},
}

func mountEarly(*Node) (string, error) {
	for _, m := range earlyMounts {
		if err := m.Do(); err != nil {
			return "", err
		}
	}
	return "", os.MkdirAll("/run/holdfast", 0o755)
}

func readCmdline() (cmdline.Line, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return cmdline.Line{}, err
	}
	return cmdline.Parse(string(b))
}

func parseCmdline(n *Node) (string, error) {
	var err error
	if n.cmdline, err = readCmdline(); err != nil {
		return "", err
	}
	v, ok := n.cmdline.Get("roothash")
	if !ok {
		return "", errors.New("no roothash= on the command line")
	}
	raw, err := hex.DecodeString(v)
	if err != nil || len(raw) != len(n.rootHash) {
		return "", fmt.Errorf("roothash=%s is not 64 hexadecimal digits", v)
	}
	copy(n.rootHash[:], raw)
	return "root hash " + v[:16] + "…", nil
}

func measure(name string) func(*Node) (string, error) {
	return func(*Node) (string, error) { return name, phase.Enter(name) }
}

// findRoot waits for the two partitions that the root hash names. Devices
// appear at any time, so every event leads to a new look.
func findRoot(n *Node) (string, error) {
	events, err := uevent.Listen()
	if err != nil {
		return "", err
	}
	defer events.Close()
	deadline := time.Now().Add(partitionWait)
	for {
		missing := n.lookForRoot()
		if missing == nil {
			return n.rootDev + ", " + n.hashDev, nil
		}
		if _, err := events.Next(deadline); errors.Is(err, os.ErrDeadlineExceeded) {
			return "", fmt.Errorf("%w within %s", missing, partitionWait)
		}
	}
}

// lookForRoot finds the disk with both partitions; the error says what is missing.
func (n *Node) lookForRoot() error {
	root, hash := slot.UUIDs(n.rootHash)
	missing := fmt.Errorf("no root partition %s", root)
	disks, err := block.Disks()
	if err != nil {
		return err
	}
	for _, d := range disks {
		t, err := readTable(d)
		if err != nil {
			continue
		}
		r, h := t.ByUUID(root), t.ByUUID(hash)
		if r == nil {
			continue
		}
		if h == nil {
			missing = fmt.Errorf("no verity partition %s beside the root on %s", hash, d.Node())
			continue
		}
		rootDev, ok1 := d.Partition(r.Number)
		hashDev, ok2 := d.Partition(h.Number)
		if ok1 && ok2 && exists(rootDev) && exists(hashDev) {
			n.disk, n.table, n.rootDev, n.hashDev = d, t, rootDev, hashDev
			return nil
		}
		missing = fmt.Errorf("no device nodes yet for the root partitions of %s", d.Node())
	}
	return missing
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func readTable(d block.Disk) (*gpt.Table, error) {
	f, err := os.Open(d.Node())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gpt.Read(f, d.SizeBytes, d.SectorSize)
}

// rootReadAhead is what a page fault reads of the root, in bytes. Whatever is
// read is also hashed and decompressed; the kernel's own choice for a virtual
// disk, twice its largest request, reads nearly the whole image at a boot.
const rootReadAhead = 128 << 10

func openVerity(n *Node) (string, error) {
	f, err := os.Open(n.hashDev)
	if err != nil {
		return "", err
	}
	defer f.Close()
	first := make([]byte, verity.SuperblockSize)
	if _, err := io.ReadFull(f, first); err != nil {
		return "", fmt.Errorf("read %s: %w", n.hashDev, err)
	}
	sb, err := verity.ParseSuperblock(first)
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.hashDev, err)
	}
	dev, err := dm.Create(rootName, "HOLDFAST-VERITY-"+hex.EncodeToString(n.rootHash[:16]), true, dm.Target{
		Sectors: sb.Sectors(), Type: "verity", Params: sb.Table(n.rootDev, n.hashDev, n.rootHash, "panic_on_corruption"),
	})
	if err != nil {
		return "", err
	}
	if err := block.SetReadAhead(filepath.Base(dev.Node()), rootReadAhead); err != nil {
		return "", err
	}
	return "/dev/mapper/" + rootName, os.Symlink("../"+filepath.Base(dev.Node()), "/dev/mapper/"+rootName)
}

func mountRoot(n *Node) (string, error) {
	dev := "/dev/mapper/" + rootName
	m := mount.Mount{Source: dev, Target: newRoot, Type: "erofs", Flags: mount.ReadOnly, Mode: 0o755}
	err := m.Do()
	if errors.Is(err, unix.EINVAL) {
		return "", fmt.Errorf("%s holds no EROFS file system: %w", dev, err)
	}
	return "erofs, read-only", err
}

// oneProcessor is for Go's scheduler: PID 1 waits for most of its life, and its
// memory and wake-ups should not grow with the machine. A pet of the watchdog
// woke three threads where Go used two processors, and wakes two with one.
const oneProcessor = "GOMAXPROCS=1"

// SwitchRoot ends stage 1: it executes PID 1 from the verified root and
// returns only on failure.
func (n *Node) SwitchRoot() error {
	if err := n.Report.Save(); err != nil {
		return &Error{"hand over", err}
	}
	if err := os.Remove("/init"); err != nil { // its memory would stay taken for good
		return &Error{"switch root", err}
	}
	if err := mount.SwitchRoot(newRoot, "/proc", "/sys", "/dev", "/run"); err != nil {
		return &Error{"switch root", err}
	}
	env := []string{"PATH=/usr/sbin:/usr/bin", "HOME=/", "TERM=linux", oneProcessor}
	return &Error{"execute /sbin/init", unix.Exec("/sbin/init", []string{"/sbin/init"}, env)}
}
