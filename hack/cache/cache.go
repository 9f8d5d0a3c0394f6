// Package cache keeps expensive results in content-addressed directories that are either complete or absent.
//
// A result lives in <Dir>/<kind>/<key>/. It is built in <key>.tmp-* beside it under the lock <key>.lock, flushed, and
// renamed into place, so neither an interrupted build nor a second builder ever leaves a part that looks whole.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// lockPoll is how often a waiter looks whether another builder is done.
const lockPoll = 100 * time.Millisecond

var simpleName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

// Dir returns the cache's root: $HOLDFAST_CACHE, or "holdfast" in the user's cache directory.
func Dir() (string, error) {
	if dir := os.Getenv("HOLDFAST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory (or set HOLDFAST_CACHE): %w", err)
	}
	return filepath.Join(base, "holdfast"), nil
}

// Key returns the hex SHA-256 of parts, each framed by its length so that no two lists collide.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(p))))
		io.WriteString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// FileKey returns the hex SHA-256 of a file's content.
func FileKey(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Get returns the directory of kind/key. When it is missing, build fills a temporary directory that takes its place on
// success; of concurrent callers one builds and the others wait for it, until ctx ends.
func Get(ctx context.Context, kind, key string, build func(ctx context.Context, dir string) error) (string, error) {
	if !simpleName.MatchString(kind) || !simpleName.MatchString(key) {
		return "", fmt.Errorf("cache entry %q/%q: want names of letters, digits and ._+-", kind, key)
	}
	root, err := Dir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(root, kind, key)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, final+".lock")
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", final, err)
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil // the holder of the lock before us made it
	}
	if err := replace(ctx, final, build); err != nil {
		return "", err
	}
	return final, nil
}

// replace builds final beside itself and renames it into place; its caller holds the lock.
func replace(ctx context.Context, final string, build func(ctx context.Context, dir string) error) error {
	leftovers, err := filepath.Glob(final + ".tmp-*")
	if err != nil {
		return err
	}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove interrupted build: %w", err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), filepath.Base(final)+".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := build(ctx, dir); err != nil {
		return err
	}
	if err := flush(dir); err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	if err := os.Rename(dir, final); err != nil {
		return err
	}
	return fsync(filepath.Dir(final))
}

// flush makes a tree durable, so that after a power cut the rename cannot show files that are still empty.
func flush(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || (!d.IsDir() && !d.Type().IsRegular()) {
			return err
		}
		return fsync(path)
	})
}

func fsync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lock takes an exclusive flock, which the kernel drops when its holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
