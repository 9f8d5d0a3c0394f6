package bed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/spec"
	"holdfast/rootfs/gpt"
	"holdfast/rootfs/image"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/tree"
	"holdfast/tests/qemu"
)

const (
	version    = "0.0.1"
	mib        = 1 << 20
	sectorSize = 512
	stateBytes = 128 * mib // too small for the reserve file, so that its making costs nothing
)

// Machine makes a disk in a directory, with the services and with further files
// on its root, and returns what boots it. There is no actor on it but in files.
func Machine(ctx context.Context, services map[string]*specs.Spec, files []tree.File, dir string) (qemu.Config, error) {
	p, err := makeParts()
	if err != nil {
		return qemu.Config{}, err
	}
	root, err := p.makeRoot(ctx, services, files, dir)
	if err != nil {
		return qemu.Config{}, err
	}
	c := qemu.Config{
		Kernel: p.kernel, Initrd: p.initrd, Cmdline: image.Cmdline(root.Hash, "report"),
		Disk: filepath.Join(dir, "disk.raw"), NoTPM: true, NoNIC: true,
	}
	return c, makeDisk(root, c.Disk)
}

// Kernel is the release's kernel, as a file.
func Kernel() (string, error) {
	p, err := makeParts()
	if err != nil {
		return "", err
	}
	return p.kernel, nil
}

// makeRoot packs a root with the services and returns it.
func (p *parts) makeRoot(ctx context.Context, services map[string]*specs.Spec, further []tree.File, dir string) (*image.Root, error) {
	t := tree.New()
	if err := errors.Join(t.Add(tree.Base(version)...), t.Add(further...), p.addPrograms(t), addServices(t, services)); err != nil {
		return nil, err
	}
	if err := t.AddLibraries("/"); err != nil { // the host is a Debian, too
		return nil, err
	}
	files := filepath.Join(dir, "root")
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(files)
	if err := t.Write(files); err != nil {
		return nil, err
	}
	return image.MakeRoot(ctx, mkfs, files, dir)
}

// addPrograms plans PID 1, and what PID 1 runs on the state volume.
func (p *parts) addPrograms(t *tree.Tree) error {
	files := []tree.File{{Path: "/usr/sbin/init", Source: p.init, Mode: 0o755}}
	for _, program := range tree.Programs {
		if program.Package != "e2fsprogs" {
			continue
		}
		source, err := filepath.EvalSymlinks(program.Path)
		if err != nil {
			return fmt.Errorf("find %s: %w", program.Path, err)
		}
		files = append(files, tree.File{Path: program.Path, Source: source, Mode: 0o755})
	}
	return t.Add(files...)
}

// addServices plans the specifications. One that PID 1 would refuse is refused
// here, with its name.
func addServices(t *tree.Tree, services map[string]*specs.Spec) error {
	for name, s := range services {
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if _, err := spec.Parse(name, data); err != nil {
			return err
		}
		if err := t.Add(tree.File{Path: spec.Dir + "/" + name + ".json", Data: data, Mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk lays the root, its hash tree and an empty state partition out on a
// sparse disk. It is a node's disk without the ESP and the other slot.
func makeDisk(root *image.Root, path string) error {
	rootUUID, verityUUID := slot.UUIDs(root.Hash)
	parts := []struct {
		name       string
		number     int
		kind, uuid gpt.GUID
		source     string // empty: stateBytes of nothing
	}{
		{slot.RootLabel(version), slot.A.RootNumber(), gpt.TypeRoot, rootUUID, root.Image},
		{slot.VerityLabel(version), slot.A.VerityNumber(), gpt.TypeRootVerity, verityUUID, root.Tree},
		{slot.StateLabel, slot.StateNumber, gpt.TypeLinux, slot.DefaultUUID(slot.StateNumber), ""},
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	table := &gpt.Table{DiskGUID: slot.DefaultUUID(0), SectorSize: sectorSize}
	next := int64(mib)
	for _, p := range parts {
		size, err := place(f, next, p.source)
		if err != nil {
			return fmt.Errorf("write partition %s: %w", p.name, err)
		}
		table.Entries = append(table.Entries, gpt.Entry{
			Number: p.number, Type: p.kind, UUID: p.uuid, Name: p.name,
			FirstLBA: uint64(next / sectorSize), LastLBA: uint64((next+size)/sectorSize - 1),
		})
		next += size
	}
	table.Sectors = uint64(next+mib) / sectorSize
	if err := f.Truncate(next + mib); err != nil {
		return err
	}
	return errors.Join(table.Write(f), f.Close())
}

// place copies a file to an offset and returns the size of its partition.
func place(disk *os.File, offset int64, source string) (int64, error) {
	if source == "" {
		return stateBytes, nil
	}
	in, err := os.Open(source)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	n, err := io.Copy(io.NewOffsetWriter(disk, offset), in)
	return (n + mib - 1) / mib * mib, err
}
