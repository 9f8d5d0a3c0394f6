package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast/hack/cache"
	"holdfast/rootfs/image"
	"holdfast/rootfs/sbom"
	"holdfast/rootfs/tree"
)

func (b *builder) makeRoot(ctx context.Context) error {
	t, err := b.plan()
	if err != nil {
		return err
	}
	digest, err := t.Digest()
	if err != nil {
		return err
	}
	if b.again {
		return b.makeRootAgain(ctx, t)
	}
	key := cache.Key(append(image.ErofsOptions(), digest, b.tools.Root, b.kernel.Version)...)
	dir, err := cache.Get(ctx, "root", key, func(ctx context.Context, dir string) error {
		return b.packRoot(ctx, t, dir)
	})
	if err != nil {
		return err
	}
	if b.root, err = image.OpenRoot(dir); err != nil {
		return err
	}
	return b.linkRoot()
}

// makeRootAgain packs the root without the cache.
func (b *builder) makeRootAgain(ctx context.Context, t *tree.Tree) (err error) {
	if err := b.packRoot(ctx, t, b.out); err != nil {
		return err
	}
	b.root, err = image.OpenRoot(b.out)
	return err
}

func (b *builder) packRoot(ctx context.Context, t *tree.Tree, out string) error {
	dir, err := os.MkdirTemp(b.out, "root-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := t.Write(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := b.writeSBOM(dir, filepath.Join(out, sbomFile)); err != nil {
		return err
	}
	mkfs := func(ctx context.Context, args ...string) *exec.Cmd {
		return b.tools.Command(ctx, "mkfs.erofs", args...)
	}
	_, err = image.MakeRoot(ctx, mkfs, dir, out)
	return err
}

const sbomFile = "sbom.spdx.json"

// writeSBOM lists what a root, written to a directory, and its kernel are made of.
func (b *builder) writeSBOM(dir, to string) error {
	release := sbom.Release{
		Version: b.version, Created: time.Unix(image.Epoch, 0).UTC(),
		Kernel: sbom.Package{Name: "linux", Version: b.kernel.Version},
	}
	for _, p := range b.packages.Packages {
		release.Debian = append(release.Debian, sbom.Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256})
	}
	doc, err := sbom.New(release, os.DirFS(dir))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := sbom.Write(&text, doc); err != nil {
		return err
	}
	return os.WriteFile(to, text.Bytes(), 0o644)
}

// linkRoot gives the root, which stays in the cache, its place among the results.
func (b *builder) linkRoot() error {
	dir := filepath.Dir(b.root.Image)
	for _, path := range []string{b.root.Image, b.root.Tree, filepath.Join(dir, sbomFile)} {
		if err := link(path, filepath.Join(b.out, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}
