package debian

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/hack/cache"
)

// layout is part of every tree's key: raise it when what Fetch stores changes.
const layout = "1"

// libraryDirs are where Debian's amd64 libraries are, and programDirs its programs, in a merged-/usr tree.
var (
	libraryDirs = []string{"usr/lib/x86_64-linux-gnu", "usr/lib"}
	programDirs = []string{"usr/bin", "usr/sbin"}
)

// Tree is a set of packages extracted over one another.
type Tree struct {
	Root     string // the directory that stands for /
	Packages []Package
}

// Package is one binary package in a Tree.
type Package struct {
	Name, Version string
	Source        string   // source package and its version, "glibc 2.41-12"
	License       string   // short names from its machine-readable copyright file, comma-separated, or ""
	SHA256        string   // of the .deb, as in the signed package list
	Files         []string // absolute paths of files and links, not directories, sorted
}

// Fetch returns the tree of exactly the named packages of suite: dependencies must be named too. The first call
// downloads the suite's current versions, which apt verifies; later ones use that tree without the network.
func Fetch(ctx context.Context, suite string, names []string) (*Tree, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	key := cache.Key(append([]string{layout, suite}, names...)...)
	dir, err := cache.Get(ctx, "debian", key, func(ctx context.Context, dir string) error {
		fmt.Fprintf(os.Stderr, "downloading %d packages of %s\n", len(names), suite)
		return fetchTree(ctx, dir, suite, names)
	})
	if err != nil {
		return nil, fmt.Errorf("fetch packages of %s: %w", suite, err)
	}
	tree := &Tree{Root: filepath.Join(dir, "root")}
	data, err := os.ReadFile(filepath.Join(dir, "packages.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &tree.Packages); err != nil {
		return nil, fmt.Errorf("read %s/packages.json: %w", dir, err)
	}
	return tree, nil
}

func fetchTree(ctx context.Context, dir, suite string, names []string) error {
	work, err := os.MkdirTemp(dir, "apt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work, "deb", suite)
	if err != nil {
		return err
	}
	debs := filepath.Join(work, "debs")
	root := filepath.Join(dir, "root")
	for _, d := range []string{debs, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if _, err := a.run(ctx, debs, append([]string{"download"}, names...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) != len(names) {
		return fmt.Errorf("apt-get download got %d packages, want %d", len(files), len(names))
	}
	var packages []Package
	for _, deb := range files {
		p, err := extract(ctx, deb, root)
		if err != nil {
			return fmt.Errorf("extract %s: %w", filepath.Base(deb), err)
		}
		packages = append(packages, p)
	}
	data, err := json.MarshalIndent(packages, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "packages.json"), data, 0o644)
}

// extract unpacks one .deb over root and describes it.
func extract(ctx context.Context, deb, root string) (Package, error) {
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
		return Package{}, fmt.Errorf("dpkg-deb -x: %w: %s", err, out)
	}
	format := "${Package}\n${Version}\n${source:Package} ${source:Version}\n"
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--showformat", format, "-W", deb).Output()
	if err != nil {
		return Package{}, fmt.Errorf("dpkg-deb -W: %w", err)
	}
	f := strings.Split(string(out), "\n")
	if len(f) != 4 {
		return Package{}, fmt.Errorf("dpkg-deb -W: unexpected answer %q", out)
	}
	p := Package{Name: f[0], Version: f[1], Source: f[2]}
	if p.SHA256, err = cache.FileKey(deb); err != nil {
		return Package{}, err
	}
	if p.Files, err = contents(ctx, deb); err != nil {
		return Package{}, err
	}
	p.License, err = licenses(filepath.Join(root, "usr/share/doc", p.Name, "copyright"))
	return p, err
}

// contents lists a package's files and links.
func contents(ctx context.Context, deb string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb --fsys-tarfile: %w", err)
	}
	var files []string
	for r := tar.NewReader(strings.NewReader(string(out))); ; {
		h, err := r.Next()
		if err == io.EOF {
			slices.Sort(files)
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeDir {
			files = append(files, path.Join("/", h.Name))
		}
	}
}

// licenses reads the License fields of a DEP-5 copyright file; one in another form, or none, gives "".
func licenses(copyright string) (string, error) {
	f, err := os.Open(copyright)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	var names []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if name, ok := strings.CutPrefix(s.Text(), "License:"); ok && strings.TrimSpace(name) != "" {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", "), s.Err()
}

// Command prepares to run a program of the tree with the tree's own loader and libraries, so that it works on a host
// with an older C library. The tree must hold libc6 and every library that prog needs.
func (t *Tree) Command(ctx context.Context, prog string, args ...string) *exec.Cmd {
	loader := filepath.Join(t.Root, libraryDirs[0], "ld-linux-x86-64.so.2")
	var libraries []string
	for _, d := range libraryDirs {
		libraries = append(libraries, filepath.Join(t.Root, d))
	}
	file := ""
	for _, d := range programDirs {
		if p := filepath.Join(t.Root, d, prog); file == "" && isFile(p) {
			file = p
		}
	}
	argv := append([]string{"--library-path", strings.Join(libraries, ":"), file}, args...)
	cmd := exec.CommandContext(ctx, loader, argv...)
	if file == "" {
		cmd.Err = fmt.Errorf("run %s: not in the tree %s", prog, t.Root)
	}
	return cmd
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
