package components

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/hack/cache"
)

// Build returns the directory with a component's executables, building them when the cache has none.
func Build(ctx context.Context, name string) (dir string, err error) {
	for _, c := range All() {
		if c.Name == name {
			dir, err := c.build(ctx)
			if err != nil {
				return "", fmt.Errorf("build %s: %w", name, err)
			}
			return dir, nil
		}
	}
	return "", fmt.Errorf("build %s: no such component", name)
}

// BuildAll builds every component, one after the other (the Go tool uses all
// processors already), and returns their directories by component name.
func BuildAll(ctx context.Context) (map[string]string, error) {
	dirs := map[string]string{}
	for _, c := range All() {
		dir, err := Build(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		dirs[c.Name] = dir
	}
	return dirs, nil
}

func (c Component) build(ctx context.Context) (string, error) {
	module, err := folder(ctx, c.Name)
	if err != nil {
		return "", err
	}
	version, err := upstreamVersion(filepath.Join(module, "go.mod"), c.Upstream)
	if err != nil {
		return "", err
	}
	key, err := c.key(ctx, module, version)
	if err != nil {
		return "", err
	}
	return cache.Get(ctx, c.Name, key, func(ctx context.Context, dir string) error {
		for _, p := range c.Programs {
			if _, err := c.run(ctx, module, "go", c.args(p, version, filepath.Join(dir, p.File))...); err != nil {
				return err
			}
		}
		return nil
	})
}

// args returns the Go tool's arguments that build one program.
func (c Component) args(p Program, version, output string) []string {
	link := []string{"-s", "-w"}
	for _, name := range c.VersionVars {
		link = append(link, "-X", name+"="+version)
	}
	for _, set := range c.LinkVars {
		link = append(link, "-X", set)
	}
	if c.Cgo {
		link = append(link, "-extldflags", "-static")
	}
	return []string{"build", "-trimpath", "-buildvcs=false", "-tags", p.Tags,
		"-ldflags", strings.Join(link, " "), "-o", output, p.Package}
}

// env is the part of the environment that shapes the programs. The rest, such
// as where modules come from, is the host's own.
func (c Component) env() []string {
	cgo := "CGO_ENABLED=0"
	if c.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	return []string{"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOEXPERIMENT=", "GOWORK=off", "GOFLAGS=-mod=readonly", cgo}
}

// run executes a command in dir and returns its standard output.
func (c Component) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), c.env()...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// key covers all that the programs are made from: the module's files (go.sum
// pins the dependencies), the toolchain, and how each program is built.
func (c Component) key(ctx context.Context, module, version string) (string, error) {
	toolchain, err := c.run(ctx, module, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	parts := append([]string{toolchain}, c.env()...)
	if c.Cgo {
		compiler, err := c.run(ctx, module, "gcc", "--version")
		if err != nil {
			return "", err
		}
		library, err := c.run(ctx, module, "pkg-config", "--modversion", "libseccomp")
		if err != nil {
			return "", err
		}
		parts = append(parts, compiler, library)
	}
	for _, p := range c.Programs {
		parts = append(parts, c.args(p, version, p.File)...)
	}
	files, err := sources(module)
	if err != nil {
		return "", err
	}
	return cache.Key(append(parts, files...)...), nil
}

// sources returns the paths and contents of a module's own files, tests left out, in order.
func sources(module string) ([]string, error) {
	var parts []string
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(module, path)
		parts = append(parts, name, string(content))
		return err
	})
	return parts, err
}

// folder returns the path of a component's module.
func folder(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "holdfast/hack/components").Output()
	if err != nil {
		return "", fmt.Errorf("find the components (run this inside the repository): %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), name), nil
}

// upstreamVersion reads a required module's version from a go.mod.
func upstreamVersion(path, module string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) >= 2 && words[0] == module && strings.HasPrefix(words[1], "v") {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("%s requires no %s", path, module)
}
