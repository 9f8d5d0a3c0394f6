// Package tree composes the root file system's files from a plan, with the shared libraries that its programs need.
package tree

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// File is one entry of the root. Exactly one of Source, Data, Link or Dir says
// what it is. Owners and times are not recorded: all belong to root, all are
// of the image's time.
type File struct {
	Path   string // absolute, on the node
	Source string // copy of this file of the build host
	Data   []byte
	Link   string
	Dir    bool
	Mode   fs.FileMode
}

// Tree is a plan of files; a path is there once.
type Tree struct{ files map[string]File }

// New makes an empty plan.
func New() *Tree { return &Tree{files: map[string]File{}} }

// Add plans files. The same path twice is an error.
func (t *Tree) Add(files ...File) error {
	for _, f := range files {
		if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path {
			return fmt.Errorf("plan root: %q is not a clean absolute path", f.Path)
		}
		if _, ok := t.files[f.Path]; ok {
			return fmt.Errorf("plan root: %s is there twice", f.Path)
		}
		t.files[f.Path] = f
	}
	return nil
}

// Files lists the plan, parents before what is in them.
func (t *Tree) Files() []File {
	var out []File
	for _, f := range t.files {
		out = append(out, f)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out
}

// libraryDirs is where Debian keeps shared libraries, in the loader's order.
var libraryDirs = []string{"usr/lib/x86_64-linux-gnu", "usr/lib"}

// AddLibraries plans every shared library that the planned programs need,
// directly or through another library, from a tree of extracted packages.
// further directories, relative to root, are those of a program's own.
func (t *Tree) AddLibraries(root string, further ...string) error {
	dirs := slices.Concat(libraryDirs, further)
	todo := t.Files()
	for len(todo) > 0 {
		f := todo[0]
		todo = todo[1:]
		if f.Source == "" {
			continue
		}
		needed, err := needs(f.Source)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Source, err)
		}
		for _, name := range needed {
			lib, err := findLibrary(root, dirs, name)
			if err != nil {
				return fmt.Errorf("%s needs %s: %w", f.Path, name, err)
			}
			if _, ok := t.files[lib.Path]; ok {
				continue
			}
			t.files[lib.Path] = lib
			todo = append(todo, lib)
		}
	}
	return nil
}

// needs reads a program's libraries and its loader; a file that is not ELF
// needs none.
func needs(path string) ([]string, error) {
	f, err := elf.Open(path)
	if fe := (*elf.FormatError)(nil); errors.As(err, &fe) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ImportedLibraries()
}

func findLibrary(root string, dirs []string, name string) (File, error) {
	for _, dir := range dirs {
		source := filepath.Join(root, dir, name)
		if _, err := os.Stat(source); err == nil {
			return File{Path: "/" + filepath.Join(dir, name), Source: source, Mode: 0o755}, nil
		}
	}
	return File{}, fmt.Errorf("not in the fetched packages (looked in %s)", strings.Join(dirs, ", "))
}

// Write makes the planned files below an empty directory.
func (t *Tree) Write(dir string) error {
	for _, f := range t.Files() {
		if err := f.write(filepath.Join(dir, f.Path)); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return nil
}

func (f File) write(to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch {
	case f.Dir:
		return errors.Join(os.MkdirAll(to, f.Mode.Perm()), os.Chmod(to, f.Mode))
	case f.Link != "":
		return os.Symlink(f.Link, to)
	case f.Source != "":
		return copyFile(to, f.Source, f.Mode)
	}
	return errors.Join(os.WriteFile(to, f.Data, 0o600), os.Chmod(to, f.Mode))
}

func copyFile(to, from string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(to, mode))
}

// Certificates concatenates the PEM files of a directory in the order of
// their names, as ca-certificates' own script does.
func Certificates(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no certificates in %s", dir)
	}
	slices.Sort(files)
	var out []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// Digest is a SHA-256 over every path, mode and content of the plan.
func (t *Tree) Digest() (string, error) {
	h := sha256.New()
	for _, f := range t.Files() {
		content := sha256.Sum256(f.Data)
		if f.Source != "" {
			if err := digestFile(&content, f.Source); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(h, "%q %q %v %o %x\n", f.Path, f.Link, f.Dir, f.Mode, content)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func digestFile(to *[sha256.Size]byte, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	h.Sum(to[:0])
	return nil
}
