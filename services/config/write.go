package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is one file to write below Dir.
type File struct {
	Name string // relative to Dir
	Mode os.FileMode
	Data []byte
}

// listed are the directories that hold exactly the files of the newest
// configuration. They are there even when empty: kubelet and containerd watch them.
var listed = []string{"manifests", "certs.d"}

// write puts the files in place, each one whole or not at all.
func write(dir string, files []File) error {
	wanted := make(map[string]bool, len(files))
	for _, f := range files {
		wanted[f.Name] = true
		if err := writeFile(filepath.Join(dir, f.Name), f); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	for _, l := range listed {
		if err := os.MkdirAll(filepath.Join(dir, l), 0o755); err != nil {
			return err
		}
		if err := prune(dir, l, wanted); err != nil {
			return fmt.Errorf("remove what is left in %s: %w", l, err)
		}
	}
	return nil
}

// writeFile needs no fsync: the files live in memory.
func writeFile(path string, f File) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(path), ".new-") // kubelet passes over dot files
	if err != nil {
		return err
	}
	_, err = t.Write(f.Data)
	if err = errors.Join(err, t.Chmod(f.Mode), t.Close()); err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(t.Name()))
	}
	return nil
}

// prune removes files of an earlier configuration.
func prune(dir, sub string, wanted map[string]bool) error {
	return filepath.WalkDir(filepath.Join(dir, sub), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || wanted[name] {
			return err
		}
		return os.Remove(path)
	})
}
