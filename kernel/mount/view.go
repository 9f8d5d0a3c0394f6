package mount

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// View is what a process in a mount namespace of its own sees: the machine's
// root, changed.
//
// # Decisions
//
// A mount takes the place of what was mounted at its target, which is let go
// of in the namespace: a copy of the host's mounts that lasts as long as a
// service would keep volumes busy that the host has long unmounted.
//
// What is bound is opened before anything changes, so that sources are the
// host's, read-write where the host's are, and still peers of the host's
// mounts if they are to be shared. Everything else becomes a slave (or
// private) first: nothing that a service mounts reaches the host.
type View struct {
	ReadOnly bool // all but what Mounts puts in place
	Private  bool // the host's later mounts do not arrive
	Mounts   []Entry
	Masked   []string // become an empty file or directory; missing ones stay missing
	Fixed    []string // become read-only with all below; missing ones stay missing
	Root     Change   // the root's propagation at the end
}

// Entry is one mount of a view.
type Entry struct {
	Source, Target string
	Kind           string // of the file system; empty: Source is bound
	Deep           bool   // what is mounted below Source is bound, too
	Options        []string
	Changes        []Change
}

// Enter gives this process's mount namespace the view.
func (v View) Enter() error {
	trees, err := v.open()
	if err != nil {
		return err
	}
	null, err := Clone("/dev/null", false) // the view may have no /dev
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	if err := v.base().At("/"); err != nil {
		return err
	}
	if err := v.attach(trees); err != nil {
		return err
	}
	if err := v.mask(null); err != nil {
		return err
	}
	for _, path := range v.Fixed {
		if err := fix(path); err != nil {
			return fmt.Errorf("make %s read-only: %w", path, err)
		}
	}
	return v.Root.At("/")
}

// open makes all trees of the view.
func (v View) open() ([]Tree, error) {
	trees := make([]Tree, 0, len(v.Mounts))
	for _, e := range v.Mounts {
		t, err := e.open(v.base().Propagation)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e, err)
		}
		trees = append(trees, t)
	}
	return trees, nil
}

// attach puts the trees in their places. A new file system becomes read-only
// when the mount points in it have been made.
func (v View) attach(trees []Tree) error {
	for i, t := range trees {
		if err := t.Attach(v.Mounts[i].Target); err != nil {
			return fmt.Errorf("%s: %w", v.Mounts[i], err)
		}
	}
	for i, t := range trees {
		for _, c := range v.Mounts[i].late() {
			if err := t.Change(c); err != nil {
				return fmt.Errorf("%s: change: %w", v.Mounts[i], err)
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (v View) base() Change {
	c := Change{Propagation: unix.MS_SLAVE, Deep: true}
	if v.Private {
		c.Propagation = unix.MS_PRIVATE
	}
	if v.ReadOnly {
		c.Set = unix.MOUNT_ATTR_RDONLY
	}
	return c
}

func (e Entry) open(propagation uint64) (t Tree, err error) {
	if e.Kind != "" {
		t, err = Make(e.Kind, e.Source, e.Options)
	} else {
		t, err = Clone(e.Source, e.Deep)
	}
	if err != nil {
		return t, err
	}
	changes := e.Changes
	if e.Kind != "" {
		changes = without(changes, isReadOnly)
	}
	if !e.propagates() {
		changes = append(changes, Change{Propagation: propagation, Deep: true})
	}
	for _, c := range changes {
		if err := t.Change(c); err != nil {
			return t, fmt.Errorf("change: %w", err)
		}
	}
	return t, nil
}

func isReadOnly(c Change) bool { return c.Set == unix.MOUNT_ATTR_RDONLY }

func without(list []Change, which func(Change) bool) []Change {
	return slices.DeleteFunc(slices.Clone(list), which)
}

// late are the changes that wait until everything is in its place.
func (e Entry) late() []Change {
	if e.Kind == "" {
		return nil
	}
	return without(e.Changes, func(c Change) bool { return !isReadOnly(c) })
}

// propagates tells whether the entry has a say about its propagation.
func (e Entry) propagates() bool {
	return slices.ContainsFunc(e.Changes, func(c Change) bool { return c.Propagation != 0 })
}

func (e Entry) String() string {
	if e.Kind == "" {
		return fmt.Sprintf("bind %s at %s", e.Source, e.Target)
	}
	return fmt.Sprintf("mount %s at %s", e.Kind, e.Target)
}

// mask hides files behind /dev/null, and then directories, of which /dev may
// be one, behind one empty file system that they share.
func (v View) mask(null Tree) error {
	files, dirs, err := sort(v.Masked)
	if err != nil {
		return err
	}
	if err := coverAll(files, func() (Tree, error) { return null, nil }); err != nil {
		return err
	}
	return coverAll(dirs, func() (Tree, error) { return Make("tmpfs", "masked", []string{"mode=0555", "nr_inodes=1"}) })
}

// coverAll puts a tree over the first path, and copies of it over the others,
// all read-only.
func coverAll(paths []string, with func() (Tree, error)) error {
	for _, path := range paths {
		t, err := with()
		if err == nil {
			err = t.replace(path, Change{Set: unix.MOUNT_ATTR_RDONLY})
		}
		if err != nil {
			return fmt.Errorf("mask %s: %w", path, err)
		}
		with = func() (Tree, error) { return Clone(paths[0], false) }
	}
	return nil
}

// sort tells directories from other files, and leaves out what does not exist.
func sort(paths []string) (files, dirs []string, err error) {
	for _, path := range paths {
		var st unix.Stat_t
		switch err := unix.Stat(path, &st); {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return nil, nil, fmt.Errorf("mask %s: %w", path, err)
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			dirs = append(dirs, path)
		default:
			files = append(files, path)
		}
	}
	return files, dirs, nil
}

func fix(path string) error {
	t, err := Clone(path, true)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.replace(path, Change{Set: unix.MOUNT_ATTR_RDONLY, Deep: true})
}

// replace attaches a changed tree, and lets go of it.
func (t Tree) replace(path string, c Change) error {
	if err := t.Change(c); err != nil {
		return err
	}
	if err := t.Attach(path); err != nil {
		return err
	}
	return t.Close()
}
