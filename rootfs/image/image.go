// Package image assembles a node's disk: EROFS root, dm-verity tree, signed unified kernel image, ESP and partition table.
package image

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"holdfast/rootfs/authenticode"
	"holdfast/rootfs/esp"
	"holdfast/rootfs/gpt"
	"holdfast/rootfs/pcr"
	"holdfast/rootfs/pcrsig"
	"holdfast/rootfs/slot"
	"holdfast/rootfs/uki"
	"holdfast/rootfs/verity"
)

// Epoch is the time of every file in an image, in Unix seconds
// (2026-01-01T00:00:00Z): builds of the same input are the same bytes.
const Epoch = 1767225600

// Root identity: one file system UUID and one salt for all versions, so that
// an unchanged block hashes the same in every release.
const rootUUID = "686f6c64-6661-7374-8000-000000000002"

var salt = sha256.Sum256([]byte("holdfast root"))

// Root is a built root file system.
type Root struct {
	Image, Tree string // paths of the EROFS image and of its hash tree
	Hash        [32]byte
}

// OpenRoot finds a root that MakeRoot made in a directory.
func OpenRoot(dir string) (*Root, error) {
	r := rootIn(dir)
	text, err := os.ReadFile(r.hashFile())
	if err != nil {
		return nil, err
	}
	if n, err := hex.Decode(r.Hash[:], bytes.TrimSpace(text)); err != nil || n != len(r.Hash) {
		return nil, fmt.Errorf("%s: not a root hash", r.hashFile())
	}
	return r, nil
}

func rootIn(dir string) *Root {
	return &Root{Image: filepath.Join(dir, "root.erofs"), Tree: filepath.Join(dir, "root.verity")}
}

func (r *Root) hashFile() string { return r.Image + ".roothash" }

// MakeRoot packs a directory as EROFS by mkfs.erofs, and makes its hash tree,
// in another directory. All files belong to root and carry Epoch.
func MakeRoot(ctx context.Context, mkfs func(ctx context.Context, args ...string) *exec.Cmd, dir, out string) (*Root, error) {
	cmd := mkfs(ctx, append(ErofsOptions(), rootIn(out).Image, dir)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make EROFS: %w: %s", err, bytes.TrimSpace(text))
	}
	return HashRoot(out)
}

// HashRoot makes the hash tree of the root image in a directory.
func HashRoot(dir string) (*Root, error) {
	r := rootIn(dir)
	if err := r.hash(); err != nil {
		return nil, fmt.Errorf("make hash tree: %w", err)
	}
	return r, os.WriteFile(r.hashFile(), []byte(hex.EncodeToString(r.Hash[:])+"\n"), 0o644)
}

// ErofsOptions are mkfs.erofs's: they decide the bytes of a root as much as
// its files do.
func ErofsOptions() []string {
	return []string{
		"-zlz4hc,12", "-C65536", "-Eztailpacking", "-T", fmt.Sprint(Epoch), "-U", rootUUID, "--all-root", "--quiet",
	}
}

func (r *Root) hash() error {
	data, err := os.OpenFile(r.Image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer data.Close()
	st, err := data.Stat()
	if err != nil {
		return err
	}
	size := (st.Size() + verity.BlockSize - 1) / verity.BlockSize * verity.BlockSize
	if err := data.Truncate(size); err != nil {
		return err
	}
	tree, err := os.Create(r.Tree)
	if err != nil {
		return err
	}
	uuid := [16]byte([]byte("holdfast\x80\x00\x00\x00\x00\x00\x00\x03"))
	r.Hash, err = verity.Format(data, size, salt[:], uuid, tree)
	return errors.Join(err, tree.Close())
}

// UKI is what goes into a unified kernel image.
type UKI struct {
	Stub, Kernel, Initrd []byte
	OSRelease, Cmdline   string
	Release              string // uname -r of the kernel
	PolicyKey            []byte // public, PEM
}

// Build makes the unsigned image.
func (u UKI) Build() ([]byte, error) {
	return uki.Build(u.Stub, []uki.Section{
		{Name: ".osrel", Data: []byte(u.OSRelease)},
		{Name: ".cmdline", Data: []byte(u.Cmdline)},
		{Name: ".uname", Data: []byte(u.Release)},
		{Name: ".pcrpkey", Data: u.PolicyKey},
		{Name: ".linux", Data: u.Kernel},
		{Name: ".initrd", Data: u.Initrd},
	})
}

// Cmdline is the signed kernel command line of a root.
func Cmdline(hash [32]byte, posture string) string {
	return "roothash=" + hex.EncodeToString(hash[:]) + " holdfast.posture=" + posture +
		" console=ttyS0 quiet loglevel=4 printk.devkmsg=on panic=10 oops=panic"
}

// Signer signs boot programs; the keys may live anywhere a crypto.Signer can.
type Signer struct {
	Key    crypto.Signer
	Cert   *x509.Certificate
	Policy crypto.Signer // signs what PCR 11 may be
}

// Sign adds an Authenticode signature to a PE image.
func (s Signer) Sign(pe []byte) ([]byte, error) { return authenticode.Sign(pe, s.Key, s.Cert) }

// SignUKI adds both signatures to an unsigned UKI: that of the policy for its
// PCR 11, as the section .pcrsig, and that for Secure Boot. So an unsigned UKI
// can be made, and compared, by anyone who has the public keys.
func (s Signer) SignUKI(unsigned []byte) ([]byte, error) {
	policies, err := s.Policies(unsigned)
	if err != nil {
		return nil, fmt.Errorf("sign UKI: %w", err)
	}
	pe, err := uki.Build(unsigned, []uki.Section{{Name: ".pcrsig", Data: policies}})
	if err != nil {
		return nil, fmt.Errorf("sign UKI: %w", err)
	}
	return s.Sign(pe)
}

// Policies signs what PCR 11 holds while the initrd of a UKI runs, for every
// bank: the content of .pcrsig.
func (s Signer) Policies(pe []byte) ([]byte, error) {
	kernel, err := pcr.UKI(pe)
	if err != nil {
		return nil, err
	}
	var policies []pcrsig.Policy
	for bank := range pcr.Banks() {
		value, err := kernel.Value(bank, pcr.Phases()[0])
		if err != nil {
			return nil, err
		}
		p, err := pcrsig.Sign(s.Policy, bank, []int{pcr.Kernel}, value)
		if err != nil {
			return nil, err
		}
		policies = append(policies, p)
	}
	return pcrsig.Encode(policies)
}

// Disk is what goes onto a disk.
type Disk struct {
	Version string
	Root    *Root
	UKI     []byte            // signed
	Loader  []byte            // systemd-boot, signed
	Enroll  map[string][]byte // PK.auth, KEK.auth, db.auth; empty: no enrolment
	Bytes   int64
}

// loaderConf lets systemd-boot pick the newest entry at once; keys are
// enrolled without a question only where that can't brick a machine: in a VM.
const loaderConf = "timeout 0\neditor no\nsecure-boot-enroll if-safe\n"

// Write makes the disk image: slot A holds the version, slot B is empty. The
// file appears under its name only when it is complete.
func (d Disk) Write(ctx context.Context, to string) error {
	table, err := slot.NewTable(512, d.Bytes)
	if err != nil {
		return err
	}
	rootUUID, verityUUID := slot.UUIDs(d.Root.Hash)
	name(table, slot.A.RootNumber(), slot.RootLabel(d.Version), rootUUID)
	name(table, slot.A.VerityNumber(), slot.VerityLabel(d.Version), verityUUID)
	part := to + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(d.Bytes); err != nil {
		return err
	}
	if err := table.Write(f); err != nil {
		return err
	}
	espFile := to + ".esp"
	defer os.Remove(espFile)
	if err := d.writeESP(ctx, espFile, table); err != nil {
		return err
	}
	for number, source := range map[int]string{
		slot.ESPNumber: espFile, slot.A.RootNumber(): d.Root.Image, slot.A.VerityNumber(): d.Root.Tree,
	} {
		if err := place(f, table, number, source); err != nil {
			return fmt.Errorf("write partition %d: %w", number, err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(part, to)
}

func name(t *gpt.Table, number int, label string, uuid gpt.GUID) {
	e := t.ByNumber(number)
	e.Name, e.UUID = label, uuid
}

func (d Disk) writeESP(ctx context.Context, to string, t *gpt.Table) error {
	files := []esp.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Data: d.Loader},
		{Path: "loader/loader.conf", Data: []byte(loaderConf)},
		{Path: path.Join(slot.EntryDir, slot.Entry{Version: d.Version}.FileName()), Data: d.UKI},
	}
	for _, key := range []string{"PK", "KEK", "db"} {
		if data, ok := d.Enroll[key+".auth"]; ok {
			files = append(files, esp.File{Path: "loader/keys/auto/" + key + ".auth", Data: data})
		}
	}
	size := int64(t.ByNumber(slot.ESPNumber).Sectors()) * int64(t.SectorSize)
	return esp.Build(ctx, to, size, files)
}

// place copies a file into a partition, leaving holes as holes.
func place(disk *os.File, t *gpt.Table, number int, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	e := t.ByNumber(number)
	offset, room := int64(e.FirstLBA)*int64(t.SectorSize), int64(e.Sectors())*int64(t.SectorSize)
	if st, err := in.Stat(); err != nil || st.Size() > room {
		return errors.Join(err, fmt.Errorf("%s is larger than the partition's %d bytes", source, room))
	}
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := disk.WriteAt(buf[:n], offset+at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
