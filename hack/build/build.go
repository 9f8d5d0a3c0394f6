package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"

	"holdfast/hack/cache"
	"holdfast/hack/components"
	"holdfast/hack/debian"
	"holdfast/hack/kernel"
	"holdfast/rootfs/image"
	"holdfast/rootfs/keys"
	"holdfast/rootfs/manifest"
	"holdfast/rootfs/tree"
)

const suite = "trixie"

// hostPackages are what building and testing need of the host, beside Go.
var hostPackages = []string{
	"qemu-system-x86", "qemu-utils", "swtpm", "swtpm-tools", "ovmf", "sbsigntool", "cryptsetup-bin", "mtools", "dosfstools", "gdisk",
	"e2fsprogs", "erofs-utils", "libseccomp-dev", "gcc", "pkg-config", "cpio", "zstd", "binutils", "dnsmasq-base", "iproute2", "xorriso", "efitools",
	"util-linux", "git",
}

// toolPackages are the tools of the newer suite that make the image.
var toolPackages = []string{
	"erofs-utils", "systemd-boot-efi", "libc6", "libdeflate0", "libfuse2t64", "libgcc-s1", "liblz4-1", "liblzma5", "libpcre2-8-0",
	"libselinux1", "libuuid1", "libxxhash0", "libzstd1", "zlib1g",
}

type options struct {
	series, version, out, keys, posture, only string
	reproduce, again                          bool
}

// builder carries results from step to step.
type builder struct {
	options
	built      time.Time
	kernel     *kernel.Kernel
	components map[string]string
	own        map[string]string // name → path of the project's programs
	tools      *debian.Tree
	packages   *debian.Tree
	keys       *keys.Keys
	root       *image.Root
	uki        []byte
	loader     []byte
}

// step is one part of the build; the last ones take seconds and always run.
type step struct {
	name string
	do   func(*builder, context.Context) error
}

var steps = []step{
	{"packages", (*builder).installPackages},
	{"time", (*builder).setTime},
	{"keys", (*builder).makeKeys},
	{"tools", (*builder).fetchTools},
	{"kernel", (*builder).buildKernel},
	{"components", (*builder).buildComponents},
	{"programs", (*builder).buildPrograms},
	{"root", (*builder).makeRoot},
	{"uki", (*builder).makeUKI},
	{"loader", (*builder).signLoader},
	{"PCRs", (*builder).predictPCRs},
	{"disk", (*builder).makeDisk},
	{"manifest", (*builder).writeManifest},
}

func run(ctx context.Context, o options) error {
	if o.reproduce {
		return kernel.Reproduce(ctx, o.series)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	b := &builder{options: o}
	for _, s := range steps {
		began := time.Now()
		if err := s.do(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			fmt.Fprintf(os.Stderr, "%-12s %6.1fs\n", s.name, took.Seconds())
		}
		if s.name == o.only {
			return nil
		}
	}
	return nil
}

func (b *builder) installPackages(ctx context.Context) error {
	return debian.Ensure(ctx, append(kernel.HostPackages(), hostPackages...))
}

func (b *builder) makeKeys(context.Context) (err error) {
	dir := b.options.keys
	if dir == "" {
		base, err := cache.Dir()
		if err != nil {
			return err
		}
		dir = filepath.Join(base, "keys")
		if err := keys.Make(dir); err != nil {
			return err
		}
	}
	if b.keys, err = keys.Load(dir); err != nil {
		return err
	}
	return link(dir, filepath.Join(b.out, "keys"))
}

// link makes or redirects a symbolic link.
func link(target, at string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	if old, err := os.Readlink(at); err == nil && old == target {
		return nil
	}
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	return os.Symlink(target, at)
}

func (b *builder) fetchTools(ctx context.Context) (err error) {
	if b.tools, err = debian.Fetch(ctx, suite, toolPackages); err != nil {
		return err
	}
	b.packages, err = debian.Fetch(ctx, suite, tree.Packages())
	return err
}

func (b *builder) buildKernel(ctx context.Context) (err error) {
	b.kernel, err = kernel.Build(ctx, b.series)
	return err
}

func (b *builder) buildComponents(ctx context.Context) (err error) {
	b.components, err = components.BuildAll(ctx)
	return err
}

// programs are the project's own: static, and the same bytes wherever built.
var programs = []string{"holdfast/init", "holdfast/services/holdfastd", "holdfast/services/demo/pause", "holdfast/services/demo/server"}

func (b *builder) buildPrograms(ctx context.Context) error {
	bin := filepath.Join(b.out, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin + "/"}
	cmd := exec.CommandContext(ctx, "go", append(args, programs...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	b.own = map[string]string{}
	for _, p := range programs {
		b.own[path.Base(p)] = filepath.Join(bin, path.Base(p))
	}
	return nil
}

// unlessMade makes a file unless it was made from the same inputs before. The
// key is written last: an interrupted build leaves none.
func unlessMade(file, key string, make func() error) error {
	stamp := file + ".key"
	if old, err := os.ReadFile(stamp); err == nil && string(old) == key {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
	}
	if err := os.RemoveAll(stamp); err != nil {
		return err
	}
	if err := make(); err != nil {
		return err
	}
	return replace(stamp, []byte(key))
}

func (b *builder) tool(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.tools.Root, path))
}

// diskBytes is what a disk image takes before the first boot makes its state
// partition as large as the disk.
const diskBytes = 3 << 30

func (b *builder) makeDisk(ctx context.Context) error {
	to := filepath.Join(b.out, "disk.raw")
	key := cache.Key(string(b.loader), string(b.uki), hex.EncodeToString(b.root.Hash[:]), b.keys.ID())
	return unlessMade(to, key, func() error {
		enroll, err := b.keys.EnrollFiles()
		if err != nil {
			return err
		}
		return image.Disk{
			Version: b.version, Root: b.root, UKI: b.uki, Loader: b.loader, Enroll: enroll, Bytes: diskBytes,
		}.Write(ctx, to)
	})
}

// writeManifest says what was built, in a fixed order.
func (b *builder) writeManifest(context.Context) error {
	m := manifest.Manifest{Version: b.version, Built: b.built.Format(time.RFC3339), Kernel: b.kernel.Version, RootHash: hex.EncodeToString(b.root.Hash[:])}
	for _, part := range [][2]string{
		{"root", b.root.Image}, {"verity", b.root.Tree}, {"kernel", b.kernel.Image}, {"uki", b.signedUKI()},
		{"init", b.own["init"]}, {"holdfastd", b.own["holdfastd"]},
	} {
		st, err := os.Stat(part[1])
		if err != nil {
			return err
		}
		m.Sizes = append(m.Sizes, manifest.Size{Name: part[0], Bytes: st.Size()})
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return replace(filepath.Join(b.out, "manifest.json"), data)
}

// replace writes a file so that it is never seen half-written.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
