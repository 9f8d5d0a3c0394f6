// Package kernel configures and builds the kernel, reproducibly, from Debian's pinned source.
//
// The same tarball, fragments and tools give the same image byte for byte: time, user, host and build number are
// constants, and the build runs inside the source tree, so that no path of the build host gets into it.
package kernel

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"holdfast/hack/cache"
	"holdfast/hack/debian"
	"holdfast/kernel/config"
)

// timestamp is the build time that the kernel reports, a constant.
const timestamp = "Thu Jan  1 00:00:00 UTC 2026"

// variables are the whole environment of a build, but for PATH: none of the user's settings reach it.
var variables = []string{
	"ARCH=x86_64",
	"KBUILD_BUILD_TIMESTAMP=" + timestamp,
	"KBUILD_BUILD_USER=holdfast",
	"KBUILD_BUILD_HOST=holdfast",
	"KBUILD_BUILD_VERSION=1",
	"LC_ALL=C",
	"TZ=UTC",
}

// overrides go on make's command line, to keep the build host out of the image: pahole with several threads, the
// kernel's way, orders the BTF by chance, and Kconfig records which Rust compiler it finds.
var overrides = []string{"PAHOLE_FLAGS=--btf_gen_floats --lang_exclude=rust", "RUSTC=false"}

// Kernel is a built kernel.
type Kernel struct {
	Image   string // path of the bzImage
	Config  string // path of its .config
	Version string // what uname -r says, "6.18.15-holdfast"
}

// HostPackages returns the Debian packages that a build needs.
func HostPackages() []string {
	return []string{"bc", "bison", "dwarves", "flex", "gcc", "libc6-dev", "libelf-dev", "libssl-dev", "make", "perl", "python3",
		"xz-utils", "zstd"}
}

// Build returns the kernel of a series ("" is the default), built when the cache has none from the same tarball,
// configuration, tools and variables.
func Build(ctx context.Context, series string) (*Kernel, error) {
	s, key, err := prepare(ctx, series)
	if err != nil {
		return nil, err
	}
	dir, err := cache.Get(ctx, "kernel", key, func(ctx context.Context, dir string) error {
		return build(ctx, s, dir)
	})
	if err != nil {
		return nil, fmt.Errorf("build kernel %s: %w", s.Upstream(), err)
	}
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return nil, err
	}
	return &Kernel{
		Image:   filepath.Join(dir, "bzImage"),
		Config:  filepath.Join(dir, "config"),
		Version: strings.TrimSpace(string(release)),
	}, nil
}

// Reproduce builds a series anew, in a clean directory with another path, and fails when the image differs from the one
// that the cache has, which was built in a clean directory, too.
func Reproduce(ctx context.Context, series string) error {
	s, _, err := prepare(ctx, series)
	if err != nil {
		return err
	}
	k, err := Build(ctx, series)
	if err != nil {
		return err
	}
	first, err := cache.FileKey(k.Image)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "holdfast-another-and-longer-path-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(ctx, s, dir); err != nil {
		return fmt.Errorf("build kernel %s in %s: %w", s.Upstream(), dir, err)
	}
	again, err := cache.FileKey(filepath.Join(dir, "bzImage"))
	if err != nil {
		return err
	}
	if first != again {
		return fmt.Errorf("kernel %s is not reproducible: sha256 %s and %s", s.Upstream(), first, again)
	}
	fmt.Fprintf(os.Stderr, "kernel %s is reproducible: sha256 %s, twice\n", s.Upstream(), first)
	return nil
}

// Merge returns the options that a series' fragments request and those of the configuration that Kconfig makes of them.
func Merge(ctx context.Context, series string) (requested, result map[string]string, err error) {
	s, key, err := prepare(ctx, series)
	if err != nil {
		return nil, nil, err
	}
	if requested, err = s.Options(); err != nil {
		return nil, nil, err
	}
	dir, err := cache.Get(ctx, "kernel-config", key, func(ctx context.Context, dir string) error {
		return mergeOnly(ctx, s, dir)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("merge configuration of %s: %w", s.Upstream(), err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		return nil, nil, err
	}
	result, err = config.Parse(data)
	return requested, result, err
}

// prepare finds the series, sees to the host packages, and returns the key of everything that the image depends on:
// source, requested options, tools and variables.
func prepare(ctx context.Context, series string) (s config.Series, key string, err error) {
	if s, err = config.Find(series); err != nil {
		return s, "", err
	}
	if err := debian.Ensure(ctx, HostPackages()); err != nil {
		return s, "", err
	}
	requested, err := s.Options()
	if err != nil {
		return s, "", err
	}
	parts := slices.Concat([]string{s.SHA256}, variables, overrides)
	for _, name := range slices.Sorted(maps.Keys(requested)) {
		parts = append(parts, name, requested[name])
	}
	for _, tool := range [][]string{{"gcc", "--version"}, {"ld", "--version"}, {"pahole", "--version"}, {"zstd", "--version"}} {
		out, err := exec.CommandContext(ctx, tool[0], tool[1:]...).Output()
		if err != nil {
			return s, "", fmt.Errorf("ask %s for its version: %w", tool[0], err)
		}
		parts = append(parts, string(out))
	}
	return s, cache.Key(parts...), nil
}

// build unpacks, configures and makes the kernel below dir and leaves bzImage, config and release in it.
func build(ctx context.Context, s config.Series, dir string) error {
	src := filepath.Join(dir, "src")
	if err := unpack(ctx, s, src); err != nil {
		return err
	}
	if err := configure(ctx, s, src); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "building Linux %s in %s (some 25 minutes of processor time)\n", s.Upstream(), dir)
	began := time.Now()
	jobs := fmt.Sprintf("-j%d", runtime.NumCPU())
	if err := kmake(ctx, src, jobs, "bzImage"); err != nil {
		return err
	}
	results := map[string]string{"arch/x86/boot/bzImage": "bzImage", ".config": "config", "include/config/kernel.release": "release"}
	for from, to := range results {
		if err := os.Rename(filepath.Join(src, from), filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "built Linux %s in %v\n", s.Upstream(), time.Since(began).Round(time.Second))
	return os.RemoveAll(src)
}

// mergeOnly configures in a tree that has just what Kconfig reads, and leaves config in dir.
func mergeOnly(ctx context.Context, s config.Series, dir string) error {
	src := filepath.Join(dir, "src")
	patterns := []string{"*/Kconfig*", "*/Makefile*", "*/scripts/*", "*/arch/x86/*", "*/kernel/configs/*"}
	if err := unpack(ctx, s, src, append([]string{"--wildcards"}, patterns...)...); err != nil {
		return err
	}
	if err := configure(ctx, s, src); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(src, ".config"), filepath.Join(dir, "config")); err != nil {
		return err
	}
	return os.RemoveAll(src)
}

// unpack puts the series' source, or what of it matches tar's patterns, into a new directory src.
func unpack(ctx context.Context, s config.Series, src string, args ...string) error {
	tarball, err := debian.Source(ctx, s.Suite, "linux", s.Version, s.SHA256)
	if err != nil {
		return err
	}
	if err := os.Mkdir(src, 0o755); err != nil {
		return err
	}
	args = append([]string{"-C", src, "--strip-components=1", "--no-same-owner", "-xf", tarball}, args...)
	if out, err := exec.CommandContext(ctx, "tar", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(tarball), err, tail(out))
	}
	return nil
}

// configure makes src/.config: tinyconfig, the fragments over it, and the defaults of what they bring in.
func configure(ctx context.Context, s config.Series, src string) error {
	text, err := s.Text()
	if err != nil {
		return err
	}
	fragment := filepath.Join(src, ".holdfast.config")
	if err := os.WriteFile(fragment, text, 0o644); err != nil {
		return err
	}
	if err := kmake(ctx, src, "tinyconfig"); err != nil {
		return err
	}
	merge := filepath.Join(src, "scripts/kconfig/merge_config.sh")
	if err := run(ctx, src, "sh", merge, "-m", ".config", fragment); err != nil {
		return err
	}
	return kmake(ctx, src, "olddefconfig")
}

func kmake(ctx context.Context, src string, args ...string) error {
	return run(ctx, src, "nice", slices.Concat([]string{"make", "-s"}, overrides, args)...)
}

// run runs a build command in src; the error carries the end of what it said.
func run(ctx context.Context, src string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = src
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + src}, variables...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // make then ends its own children
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(output.Bytes()))
	}
	return nil
}

// tail returns the last lines of a command's output.
func tail(output []byte) []byte {
	const most = 4096
	if len(output) > most {
		output = output[len(output)-most:]
	}
	return bytes.TrimSpace(output)
}
