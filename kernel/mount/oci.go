package mount

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// NewView works out the view of an OCI specification, and whether it asks for
// any. Errors begin with the field.
func NewView(s *specs.Spec) (v View, asked bool, err error) {
	if s.Root != nil {
		if s.Root.Path != "" {
			return v, false, fmt.Errorf("root.path: %q, a service has the machine's root", s.Root.Path)
		}
		v.ReadOnly = s.Root.Readonly
	}
	for i, m := range s.Mounts {
		e, err := newEntry(m)
		if err != nil {
			return v, false, fmt.Errorf("mounts[%d].%w", i, err)
		}
		v.Mounts = append(v.Mounts, e)
	}
	if s.Linux == nil {
		return v, v.ReadOnly || len(v.Mounts) > 0, nil
	}
	v.Masked, v.Fixed = s.Linux.MaskedPaths, s.Linux.ReadonlyPaths
	for field, paths := range map[string][]string{"maskedPaths": v.Masked, "readonlyPaths": v.Fixed} {
		for i, path := range paths {
			if err := checkTarget(path); err != nil {
				return v, false, fmt.Errorf("linux.%s[%d]: %w", field, i, err)
			}
		}
	}
	if err := v.propagation(s.Linux.RootfsPropagation); err != nil {
		return v, false, err
	}
	asked = v.ReadOnly || len(v.Mounts)+len(v.Masked)+len(v.Fixed) > 0 || s.Linux.RootfsPropagation != ""
	return v, asked, nil
}

func (v *View) propagation(name string) error {
	switch name {
	case "", "rslave":
	case "rprivate":
		v.Private = true
	default:
		o, ok := option(name)
		if !ok || o.Propagation == 0 {
			return fmt.Errorf("linux.rootfsPropagation: %q, want one of private, slave, shared, or one of them after r", name)
		}
		v.Root = o
	}
	return nil
}

// option is what an option changes. Of a name that begins with r and is none
// itself it changes all mounts below, too (config.md, "Linux mount options").
func option(name string) (Change, bool) {
	c, ok := plainOption(name)
	if below, is := strings.CutPrefix(name, "r"); !ok && is {
		c, ok = plainOption(below)
		c.Deep = true
	}
	return c, ok
}

func plainOption(name string) (Change, bool) {
	switch name {
	case "ro":
		return Change{Set: unix.MOUNT_ATTR_RDONLY}, true
	case "rw":
		return Change{Clear: unix.MOUNT_ATTR_RDONLY}, true
	case "nosuid":
		return Change{Set: unix.MOUNT_ATTR_NOSUID}, true
	case "suid":
		return Change{Clear: unix.MOUNT_ATTR_NOSUID}, true
	case "nodev":
		return Change{Set: unix.MOUNT_ATTR_NODEV}, true
	case "dev":
		return Change{Clear: unix.MOUNT_ATTR_NODEV}, true
	case "noexec":
		return Change{Set: unix.MOUNT_ATTR_NOEXEC}, true
	case "exec":
		return Change{Clear: unix.MOUNT_ATTR_NOEXEC}, true
	case "nosymfollow":
		return Change{Set: unix.MOUNT_ATTR_NOSYMFOLLOW}, true
	case "symfollow":
		return Change{Clear: unix.MOUNT_ATTR_NOSYMFOLLOW}, true
	case "noatime":
		return Change{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}, true
	case "relatime":
		return Change{Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME}, true
	case "strictatime":
		return Change{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME}, true
	case "private":
		return Change{Propagation: unix.MS_PRIVATE}, true
	case "slave":
		return Change{Propagation: unix.MS_SLAVE}, true
	case "shared":
		return Change{Propagation: unix.MS_SHARED}, true
	}
	return Change{}, false
}

// kinds are the file systems that a service may mount, and their options. None
// of them reads a disk.
var kinds = map[string][]string{
	"tmpfs":   {"mode", "size", "nr_blocks", "nr_inodes", "uid", "gid", "noswap"},
	"proc":    {"hidepid", "subset", "gid"},
	"sysfs":   nil,
	"mqueue":  nil,
	"cgroup2": nil,
}

func newEntry(m specs.Mount) (Entry, error) {
	e := Entry{Source: m.Source, Target: m.Destination}
	if err := checkTarget(m.Destination); err != nil {
		return e, fmt.Errorf("destination: %w", err)
	}
	bind := slices.Contains(m.Options, "bind")
	e.Deep = slices.Contains(m.Options, "rbind")
	known, ok := kinds[m.Type]
	switch {
	case bind || e.Deep:
		if m.Type != "" && m.Type != "bind" && m.Type != "none" {
			return e, fmt.Errorf("type: %q, want bind with the option bind or rbind", m.Type)
		}
		if !isClean(m.Source) {
			return e, fmt.Errorf("source: %q, want a clean absolute path", m.Source)
		}
	case m.Type == "bind":
		return e, fmt.Errorf("options: want bind or rbind with type bind")
	case !ok:
		return e, fmt.Errorf("type: %q, want bind, tmpfs, proc, sysfs, mqueue or cgroup2", m.Type)
	default:
		e.Kind = m.Type
	}
	return e, e.options(m.Options, known)
}

func (e *Entry) options(options, known []string) error {
	for i, o := range options {
		if c, ok := option(o); ok {
			e.Changes = append(e.Changes, c)
			continue
		}
		key, _, _ := strings.Cut(o, "=")
		switch {
		case e.Kind == "" && (o == "bind" || o == "rbind"):
		case e.Kind != "" && slices.Contains(known, key):
			e.Options = append(e.Options, o)
		case e.Kind == "":
			return fmt.Errorf("options[%d]: %q is not an option of bind", i, o)
		default:
			return fmt.Errorf("options[%d]: %q is not an option of %s", i, o, e.Kind)
		}
	}
	return nil
}

func checkTarget(path string) error {
	if !isClean(path) || path == "/" {
		return fmt.Errorf("%q, want a clean absolute path below /", path)
	}
	return nil
}

func isClean(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && !strings.ContainsRune(path, 0)
}
