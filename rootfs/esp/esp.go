// Package esp makes the image of an EFI system partition: FAT32, from a list of files, always with the same bytes.
//
// The tools are mkfs.vfat of dosfstools and mmd and mcopy of mtools. Times,
// volume ID and label are fixed; directories and files are made in the order of
// their paths, so that they lie on the same clusters.
//
// Not supported: empty directories, attributes, sectors other than of 512 bytes.
package esp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinBytes is the smallest image: FAT32 has at least 65525 clusters, of one
// sector here, beside its tables.
const MinBytes = 34 << 20

const (
	label    = "ESP"
	volumeID = "686f6c64"        // "hold" in ASCII
	epoch    = int64(1767225600) // 2026-01-01, the time of all that is in the image
)

// File is a file of the image.
type File struct {
	Path   string // relative to the root, such as EFI/BOOT/BOOTX64.EFI
	Data   []byte
	Source string // a file to read instead of Data
}

// Build makes an image of sizeBytes at file. It replaces what is there, or
// leaves it alone on an error.
func Build(ctx context.Context, file string, sizeBytes int64, files []File) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	if err := check(sizeBytes, files); err != nil {
		return fmt.Errorf("build ESP: %w", err)
	}
	stage, err := os.MkdirTemp(filepath.Dir(file), ".esp-*")
	if err != nil {
		return fmt.Errorf("build ESP: %w", err)
	}
	defer os.RemoveAll(stage)
	image := filepath.Join(stage, "image")
	if err := makeFileSystem(ctx, image, sizeBytes); err != nil {
		return fmt.Errorf("build ESP: make file system: %w", err)
	}
	if err := fill(ctx, image, stage, files); err != nil {
		return fmt.Errorf("build ESP: %w", err)
	}
	if err := os.Rename(image, file); err != nil {
		return fmt.Errorf("build ESP: %w", err)
	}
	return nil
}

// check looks at what mtools would take for something else, or not notice.
func check(sizeBytes int64, files []File) error {
	if sizeBytes < MinBytes || sizeBytes%512 != 0 {
		return fmt.Errorf("size of %d bytes, expected at least %d and a multiple of 512", sizeBytes, MinBytes)
	}
	for _, f := range files {
		switch {
		case !filepath.IsLocal(f.Path) || path.Clean(f.Path) != f.Path || f.Path == ".":
			return fmt.Errorf("path %q, expected one relative to the root", f.Path)
		case strings.ContainsAny(f.Path, `\:*?"<>|`):
			return fmt.Errorf("path %q: FAT has no \\ : * ? \" < > | in names", f.Path)
		case f.Data != nil && f.Source != "":
			return fmt.Errorf("%s: has both data and a source", f.Path)
		}
	}
	seen := map[string]bool{} // FAT does not tell capitals apart
	for _, dir := range directories(files) {
		seen[strings.ToLower(dir)] = true
	}
	for _, f := range files {
		lower := strings.ToLower(f.Path)
		if seen[lower] {
			return fmt.Errorf("%s: there is another of that name", f.Path)
		}
		seen[lower] = true
	}
	return nil
}

func makeFileSystem(ctx context.Context, image string, sizeBytes int64) error {
	f, err := os.OpenFile(image, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Close()); err != nil {
		return err
	}
	return run(ctx, "mkfs.vfat", "--invariant", "-F", "32", "-S", "512", "-i", volumeID, "-n", label, image)
}

// fill makes the directories and copies the files.
func fill(ctx context.Context, image, stage string, files []File) error {
	for _, dir := range directories(files) {
		if err := run(ctx, "mmd", "-i", image, "::/"+dir); err != nil {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	for _, f := range files {
		source := f.Source
		if source == "" {
			source = filepath.Join(stage, "file")
			if err := os.WriteFile(source, f.Data, 0o644); err != nil {
				return err
			}
		}
		if err := run(ctx, "mcopy", "-o", "-i", image, source, "::/"+f.Path); err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
	}
	return nil
}

// directories are those of the files, each behind its parent, in one spelling.
func directories(files []File) []string {
	spelling := map[string]string{}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			spelling[strings.ToLower(dir)] = dir
		}
	}
	var dirs []string
	for _, lower := range slices.Sorted(maps.Keys(spelling)) {
		dirs = append(dirs, spelling[lower])
	}
	return dirs
}

// run starts a tool with a fixed clock and none of the user's configuration.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(epoch, 10), "TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.Join(bytes.Fields(out), []byte(" ")))
	}
	return nil
}
