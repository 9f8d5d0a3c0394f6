package slot

import (
	"fmt"
	"strings"
)

// EntryDir is the directory of the boot entries on the ESP.
const EntryDir = "EFI/Linux"

// FirstTries is how often a new version may try to boot.
const FirstTries = 3

// Entry is a boot entry: a UKI's file name as the UAPI Boot Loader
// Specification gives it. The boot loader counts down Left and up Done at each
// try; an entry that is not counted is known to be good.
//
//	holdfast_<version>.efi             good
//	holdfast_<version>+<L>-<D>.efi     L tries left, D tries done
//
// Counters have a single digit, so that counting renames within one FAT
// directory entry.
type Entry struct {
	Version    string
	Counted    bool
	Left, Done int // 0 to 9, of a counted entry
}

// NewEntry is the entry of a version that has to prove itself.
func NewEntry(version string) Entry {
	return Entry{Version: version, Counted: true, Left: FirstTries}
}

const (
	entryPrefix = "holdfast_"
	entrySuffix = ".efi"
)

// ParseEntry reads a boot entry's file name.
func ParseEntry(name string) (Entry, error) {
	fail := func(why error) (Entry, error) { return Entry{}, fmt.Errorf("parse boot entry %q: %w", name, why) }
	body, prefixed := strings.CutPrefix(name, entryPrefix)
	body, suffixed := strings.CutSuffix(body, entrySuffix)
	if !prefixed || !suffixed {
		return fail(fmt.Errorf("expected %s<version>%s", entryPrefix, entrySuffix))
	}
	version, counter, counted := strings.Cut(body, "+")
	if err := CheckVersion(version); err != nil {
		return fail(err)
	}
	if !counted {
		return Entry{Version: version}, nil
	}
	if len(counter) != 3 || !digit(counter[0]) || counter[1] != '-' || !digit(counter[2]) {
		return fail(fmt.Errorf("counter %q, expected one digit, a dash, one digit", "+"+counter))
	}
	return Entry{version, true, int(counter[0] - '0'), int(counter[2] - '0')}, nil
}

// FileName is the entry's file name in EntryDir.
func (e Entry) FileName() string {
	if !e.Counted {
		return entryPrefix + e.Version + entrySuffix
	}
	return fmt.Sprintf("%s%s+%d-%d%s", entryPrefix, e.Version, e.Left, e.Done, entrySuffix)
}

// Bad reports whether the boot loader passes over the entry while another is left.
func (e Entry) Bad() bool { return e.Counted && e.Left == 0 }

// Blessed is the entry once its version has proved itself.
func (e Entry) Blessed() Entry { return Entry{Version: e.Version} }

// Condemned is the entry once its version is not to be booted again.
func (e Entry) Condemned() Entry { return Entry{Version: e.Version, Counted: true, Done: e.Done} }

func digit(c byte) bool { return c >= '0' && c <= '9' }
