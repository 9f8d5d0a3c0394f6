// Package slot names slots, their partitions and their boot entries.
//
// A disk has two slots, A and B, each a root and a verity partition. Which
// version is in a slot is said by the partitions' labels and UUIDs:
//
//	what              label             UUID
//	root              root_<version>    first 16 bytes of the root hash, as text
//	hash tree         verity_<version>  last 16 bytes of the root hash, as text
//	either, empty     _empty            DefaultUUID(partition number)
//
// The root hash is in the command line of the version's UKI, whose file name is
// that of a boot entry, see Entry.
package slot

import (
	"errors"
	"fmt"
	"strings"

	"holdfast/rootfs/gpt"
)

// Slot is one of the two places for a version on the disk.
type Slot int

const (
	A Slot = iota
	B
)

// Other is the slot that s is not.
func (s Slot) Other() Slot { return 1 - s }

// String is "A" or "B".
func (s Slot) String() string { return string(rune('A' + s)) }

// RootNumber is the number of the slot's root partition.
func (s Slot) RootNumber() int { return 2 + 2*int(s) }

// VerityNumber is the number of the partition with the root's hash tree.
func (s Slot) VerityNumber() int { return 3 + 2*int(s) }

// EmptyLabel is the label of both partitions of an empty slot.
const EmptyLabel = "_empty"

// RootLabel is the label of the root partition with that version.
func RootLabel(version string) string { return "root_" + version }

// VerityLabel is the label of the verity partition with that version.
func VerityLabel(version string) string { return "verity_" + version }

// UUIDs are those of the partitions that hold the root with that root hash.
func UUIDs(rootHash [32]byte) (root, verity gpt.GUID) {
	return gpt.GUIDFromText([16]byte(rootHash[:16])), gpt.GUIDFromText([16]byte(rootHash[16:]))
}

// maxVersion is what the longest label leaves of a partition name's 36 units.
const maxVersion = 36 - len("verity_")

// CheckVersion says whether a version can be part of labels and file names: it
// starts with a digit, and the UAPI Version Format Specification orders it. It
// has no capitals, because FAT would not tell them apart.
func CheckVersion(version string) error {
	switch {
	case version == "":
		return errors.New("version is empty")
	case len(version) > maxVersion:
		return fmt.Errorf("version %q has %d characters, at most %d fit", version, len(version), maxVersion)
	case version[0] < '0' || version[0] > '9':
		return fmt.Errorf("version %q does not start with a digit", version)
	}
	const allowed = "0123456789abcdefghijklmnopqrstuvwxyz.-~^"
	if i := strings.IndexFunc(version, func(c rune) bool { return !strings.ContainsRune(allowed, c) }); i >= 0 {
		return fmt.Errorf("version %q: character %d is none of 0-9 a-z . - ~ ^", version, i+1)
	}
	return nil
}
