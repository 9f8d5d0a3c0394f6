// Package atomicfile writes files and directories that stay whole through a crash (after it, either the old content is there or the new one), and reads private ones.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a file to write.
type File struct {
	Name string // one path element
	Mode os.FileMode
	Data []byte
}

// Replace writes a file at path, instead of the one that may be there.
func Replace(path string, mode os.FileMode, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := fill(f, mode, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return flush(dir)
}

// NewDir makes a directory, mode 0700, with all of the files or not at all.
// The error is fs.ErrExist where something is there already, unless that is an
// empty directory.
func NewDir(path string, files []File) (err error) {
	parent := filepath.Dir(filepath.Clean(path))
	fresh, err := os.MkdirTemp(parent, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(fresh)
		}
	}()
	for _, f := range files {
		if err := create(filepath.Join(fresh, f.Name), f.Mode, f.Data); err != nil {
			return err
		}
	}
	if err := flush(fresh); err != nil {
		return err
	}
	// rename(2) replaces an empty directory and nothing else; os.Rename not even that.
	if err := syscall.Rename(fresh, path); err != nil {
		if _, there := os.Lstat(path); there == nil {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		return fmt.Errorf("rename %s to %s: %w", fresh, path, err)
	}
	return flush(parent)
}

func create(path string, mode os.FileMode, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return fill(f, mode, data)
}

// fill writes and closes a new file.
func fill(f *os.File, mode os.FileMode, data []byte) error {
	_, err := f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// flush makes a directory's new names last.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReadPrivate reads a file that must be its owner's alone.
func ReadPrivate(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o), expected 0600; correct it with: chmod 600 %s", file, mode, file)
	}
	return os.ReadFile(file)
}
