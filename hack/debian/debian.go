// Package debian gets things from Debian through the host's apt: host packages, files of another suite, pinned sources.
//
// Another suite is read with a source list, package lists and a status file of our own, so the host's configuration is
// never touched; its mirror, proxy and archive keys are used. Every answer is kept in hack/cache, and what is there is
// used without the network.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/hack/cache"
)

// keyring is what Debian releases are verified with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Ensure installs those of the host packages that are missing, after listing them on stderr.
func Ensure(ctx context.Context, packages []string) error {
	missing, err := Missing(ctx, packages)
	if err != nil || len(missing) == 0 {
		return err
	}
	fmt.Fprintf(os.Stderr, "installing %d missing host packages: %s\n", len(missing), strings.Join(missing, " "))
	lock := []string{"-q", "-o", "DPkg::Lock::Timeout=300"}
	if err := admin(ctx, append(slices.Clone(lock), "update")...); err != nil {
		return fmt.Errorf("update package lists: %w", err)
	}
	install := append(lock, "install", "-y", "--no-install-recommends", "--")
	if err := admin(ctx, append(install, missing...)...); err != nil {
		return fmt.Errorf("install host packages: %w", err)
	}
	return nil
}

// Missing returns those of packages that are not installed on the host, sorted.
func Missing(ctx context.Context, packages []string) ([]string, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	args := append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n", "--"}, packages...)
	out, err := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	var unknown *exec.ExitError // status 1: some package has never been seen, which is an answer
	if err != nil && !(errors.As(err, &unknown) && unknown.ExitCode() == 1) {
		return nil, fmt.Errorf("query installed packages: %w", err)
	}
	installed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if name, status, _ := strings.Cut(strings.TrimSpace(line), " "); status == "installed" {
			installed[name] = true
		}
	}
	var missing []string
	for _, name := range packages {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}

// admin runs apt-get as root, with its output on stderr.
func admin(ctx context.Context, args ...string) error {
	argv := append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get"}, args...)
	if os.Geteuid() != 0 {
		argv = append([]string{"sudo"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr // sudo may ask
	return cmd.Run()
}

// Source returns the upstream tarball of a source package, downloaded when it is not cached. sha256 is its pinned
// digest; anything else is an error.
func Source(ctx context.Context, suite, pkg, version, sha256 string) (tarball string, err error) {
	key := cache.Key(suite, pkg, version, sha256)
	dir, err := cache.Get(ctx, "source", key, func(ctx context.Context, dir string) error {
		fmt.Fprintf(os.Stderr, "downloading source %s=%s from %s\n", pkg, version, suite)
		return downloadSource(ctx, dir, suite, pkg, version, sha256)
	})
	if err != nil {
		return "", fmt.Errorf("fetch source %s=%s from %s: %w", pkg, version, suite, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("cached source %s: %d files, want 1", dir, len(found))
	}
	return found[0], nil
}

// downloadSource leaves the tarball that has the pinned digest, and only it, in dir.
func downloadSource(ctx context.Context, dir, suite, pkg, version, sha256 string) error {
	work, err := os.MkdirTemp(dir, "apt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work, "deb-src", suite)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, work, "source", "--tar-only", "--download-only", pkg+"="+version); err != nil {
		return err
	}
	return keepPinned(work, dir, sha256)
}

// keepPinned moves the tarball in from that has the digest to the directory to.
func keepPinned(from, to, sha256 string) error {
	tarballs, err := filepath.Glob(filepath.Join(from, "*.orig.tar.*"))
	if err != nil {
		return err
	}
	var got []string
	for _, path := range tarballs {
		sum, err := cache.FileKey(path)
		if err != nil {
			return err
		}
		if sum == sha256 {
			return os.Rename(path, filepath.Join(to, filepath.Base(path)))
		}
		got = append(got, filepath.Base(path)+" "+sum)
	}
	return fmt.Errorf("no tarball has the pinned sha256 %s: got %q", sha256, got)
}

// apt runs apt-get on one foreign suite.
type apt struct{ options []string }

// newApt prepares lists, state and cache for suite under dir and updates the lists. kind is "deb" or "deb-src".
func newApt(ctx context.Context, dir, kind, suite string) (*apt, error) {
	mirror, err := mirror(ctx)
	if err != nil {
		return nil, err
	}
	attributes := "[arch=amd64]"
	if _, err := os.Stat(keyring); err == nil {
		attributes = "[arch=amd64 signed-by=" + keyring + "]"
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"sources.list": fmt.Sprintf("%s %s %s %s main\n", kind, attributes, mirror, suite),
		"status":       "", // nothing is installed, so that no installed version is the candidate
		"preferences":  "",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{options: aptOptions(dir)}
	if _, err := a.run(ctx, dir, "update"); err != nil {
		return nil, fmt.Errorf("update lists of %s: %w", suite, err)
	}
	return a, nil
}

func aptOptions(dir string) []string {
	settings := []string{
		"Dir::Etc::SourceList=" + filepath.Join(dir, "sources.list"),
		"Dir::Etc::SourceParts=/dev/null",
		"Dir::Etc::Preferences=" + filepath.Join(dir, "preferences"),
		"Dir::Etc::PreferencesParts=/dev/null",
		"Dir::State=" + filepath.Join(dir, "state"),
		"Dir::State::Lists=" + filepath.Join(dir, "state/lists"),
		"Dir::State::Status=" + filepath.Join(dir, "status"),
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"Acquire::Languages=none",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::Retries=3",
		"APT::Update::Error-Mode=any", // a list that could not be fetched is an error, not a warning
		"APT::Update::Post-Invoke-Success::=true",
	}
	if os.Geteuid() == 0 {
		settings = append(settings, "APT::Sandbox::User=root") // _apt cannot reach a cache under /root
	}
	options := []string{"-q"}
	for _, s := range settings {
		options = append(options, "-o", s)
	}
	return options
}

// run runs apt-get in dir and returns its standard output; what it said is in the error.
func (a *apt) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "apt-get", append(slices.Clone(a.options), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// mirror returns the URI of the Debian archive that the host itself uses.
func mirror(ctx context.Context) (string, error) {
	format := "$(REPO_URI)|$(LABEL)|$(RELEASE)"
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", format, "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for the mirror: %w", err)
	}
	return pickMirror(string(out))
}

// pickMirror chooses from "URI|label|release" lines. The label is empty until the host's lists were first fetched;
// then the archive is known by its customary path.
func pickMirror(targets string) (string, error) {
	fallback := ""
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || strings.HasSuffix(f[2], "-security") {
			continue
		}
		if f[1] == "Debian" {
			return f[0], nil
		}
		if f[1] == "" && strings.HasSuffix(strings.TrimSuffix(f[0], "/"), "/debian") {
			fallback = f[0]
		}
	}
	if fallback == "" {
		return "", errors.New("find Debian mirror: apt's configuration names no Debian archive")
	}
	return fallback, nil
}
