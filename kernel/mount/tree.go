package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is one mount, or a mount with all below it, that is not attached
// anywhere yet.
type Tree struct{ fd int }

// Clone copies the mount at a path, with what is mounted below it if deep.
func Clone(path string, deep bool) (Tree, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	return Tree{fd}, err
}

// Make makes a file system. Options are key=value, or a key alone.
func Make(kind, source string, options []string) (Tree, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return Tree{}, err
	}
	defer unix.Close(fs)
	if source != "" {
		if err := unix.FsconfigSetString(fs, "source", source); err != nil {
			return Tree{}, fmt.Errorf("source %s: %w", source, err)
		}
	}
	for _, o := range options {
		key, value, hasValue := strings.Cut(o, "=")
		if hasValue {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return Tree{}, fmt.Errorf("option %s: %w", o, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return Tree{}, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	return Tree{fd}, err
}

// Change is what mount_setattr(2) changes. The zero Change changes nothing.
type Change struct {
	Set, Clear  uint64 // MOUNT_ATTR_*
	Propagation uint64 // MS_SHARED, MS_SLAVE or MS_PRIVATE
	Deep        bool   // all below it, too
}

func (c Change) at(fd int, path string, flags uint) error {
	if c.Set|c.Clear|c.Propagation == 0 {
		return nil
	}
	if c.Deep {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(fd, path, flags, &unix.MountAttr{Attr_set: c.Set, Attr_clr: c.Clear, Propagation: c.Propagation})
}

// At changes the mount that is attached at a path.
func (c Change) At(path string) error {
	if err := c.at(unix.AT_FDCWD, path, 0); err != nil {
		return fmt.Errorf("change mount %s: %w", path, err)
	}
	return nil
}

// Change changes a tree before anybody can see it.
func (t Tree) Change(c Change) error { return c.at(t.fd, "", unix.AT_EMPTY_PATH) }

// Close lets go of the tree; one that was attached stays.
func (t Tree) Close() error { return unix.Close(t.fd) }

// Attach puts the tree in the place of whatever is mounted at target. A target
// that does not exist is made.
func (t Tree) Attach(target string) error {
	if err := detach(target); err != nil {
		return err
	}
	err := t.move(target)
	if errors.Is(err, unix.ENOENT) {
		if err = t.makePoint(target); err == nil {
			err = t.move(target)
		}
	}
	return err
}

func (t Tree) move(target string) error {
	return unix.MoveMount(t.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
}

// maxStacked bounds how many mounts on top of each other are let go.
const maxStacked = 16

// detach lets go of what is mounted at target, and below it, in this
// namespace: covering it would keep its file systems busy. In a user namespace
// the mounts of the outer one are locked, and stay below.
func detach(target string) error {
	for range maxStacked {
		switch err := unix.Unmount(target, unix.MNT_DETACH); err {
		case nil:
		case unix.EINVAL, unix.ENOENT: // nothing is mounted, or it is locked
			return nil
		default:
			return fmt.Errorf("let go of what was mounted: %w", err)
		}
	}
	return fmt.Errorf("let go of what was mounted: more than %d mounts", maxStacked)
}

// makePoint makes a directory for a directory, and an empty file for a file.
func (t Tree) makePoint(target string) error {
	dir, err := t.isDir()
	if err != nil {
		return err
	}
	if dir {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	return nil
}

func (t Tree) isDir() (bool, error) {
	var st unix.Stat_t
	err := unix.Fstat(t.fd, &st)
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}
