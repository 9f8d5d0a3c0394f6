package peer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/hack/bench/sample"
	"holdfast/hack/debian"
	"holdfast/rootfs/image"
	"holdfast/rootfs/tree"
	"holdfast/tests/bed"
	"holdfast/tests/qemu"
)

// suite is the Debian release whose systemd it is: 257.
const suite = "trixie"

// systemdPackages are systemd, and every library that its PID 1 links.
var systemdPackages = []string{
	"systemd", "libsystemd-shared", "libacl1", "libapparmor1", "libaudit1", "libblkid1", "libc6", "libcap-ng0", "libcap2", "libcrypt1",
	"libmount1", "libpam0g", "libpcre2-8-0", "libseccomp2", "libselinux1", "libssl3t64", "libzstd1", "zlib1g",
}

// privateLibraries is where systemd keeps those that are for it alone.
const privateLibraries = "usr/lib/x86_64-linux-gnu/systemd"

const unitDir = "/usr/lib/systemd/system/"

// systemd makes a machine with systemd as PID 1, from an EROFS root.
func systemd(ctx context.Context, s scenario, p programs, dir string) (qemu.Config, error) {
	var c qemu.Config
	packages, err := debian.Fetch(ctx, suite, systemdPackages)
	if err != nil {
		return c, err
	}
	t := tree.New()
	if err := t.Add(append(systemdFiles(packages.Root, s), p.files()...)...); err != nil {
		return c, err
	}
	if err := t.AddLibraries(packages.Root, privateLibraries); err != nil {
		return c, err
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return c, err
	}
	defer os.RemoveAll(root)
	if err := t.Write(root); err != nil {
		return c, err
	}
	made, err := image.MakeRoot(ctx, mkfs, root, dir)
	if err != nil {
		return c, err
	}
	c.Kernel, err = bed.Kernel()
	c.Cmdline = kernelArgs + " root=/dev/vda rootfstype=erofs ro init=/usr/lib/systemd/systemd systemd.unit=bench.target"
	c.Drives = []qemu.Drive{{File: made.Image}}
	return c, err
}

// kernelArgs are those of the other machine's command line that concern the kernel alone.
const kernelArgs = "console=ttyS0 quiet loglevel=4 printk.devkmsg=on panic=10 oops=panic"

// mkfs is the host's mkfs.erofs.
func mkfs(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "mkfs.erofs", args...)
}

// systemdFiles plans everything but libraries.
func systemdFiles(packages string, s scenario) []tree.File {
	program := func(path, source string) tree.File { return tree.File{Path: path, Source: source, Mode: 0o755} }
	text := func(path, data string) tree.File { return tree.File{Path: path, Data: []byte(data), Mode: 0o644} }
	files := []tree.File{
		program("/usr/lib/systemd/systemd", filepath.Join(packages, "usr/lib/systemd/systemd")),
		program("/usr/lib/systemd/systemd-executor", filepath.Join(packages, "usr/lib/systemd/systemd-executor")),
		text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"),
		text("/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
		text("/etc/machine-id", strings.Repeat("5", 32)+"\n"),
		text("/usr/lib/os-release", "ID=debian\nNAME=Debian\nPRETTY_NAME=\"Debian trixie\"\n"),
		{Path: "/etc/os-release", Link: "../usr/lib/os-release"},
		text("/etc/systemd/system.conf", systemConf(s)),
		{Path: "/bin", Link: "usr/bin"},
		{Path: "/sbin", Link: "usr/sbin"},
		{Path: "/lib", Link: "usr/lib"},
		{Path: "/lib64", Link: "usr/lib64"},
		{Path: "/usr/sbin", Dir: true, Mode: 0o755},
		{Path: "/usr/lib64/ld-linux-x86-64.so.2", Link: "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var", "/root"} {
		files = append(files, tree.File{Path: dir, Dir: true, Mode: 0o755})
	}
	for name, unit := range units(s) {
		files = append(files, text(unitDir+name, unit))
	}
	return files
}

// systemConf has the watchdog only where its wake-ups are counted: systemd pets
// after it has forked for every job, which for 220 services has taken more than
// the watchdog's minute on a machine that others used too.
func systemConf(s scenario) string {
	if s.idle == 0 {
		return "[Manager]\n"
	}
	return fmt.Sprintf("[Manager]\nRuntimeWatchdogSec=%d\n", watchdogTime/time.Second)
}

// units renders the target that is booted, its services, and the group's. The
// target's After= keeps a stopped service's unit in systemd's memory; it would
// be read again otherwise.
func units(s scenario) map[string]string {
	all := map[string]string{
		"driver.service":         unit("", s.driverArgs("systemd"), "no"),
		sample.Group + ".target": noDefaults,
	}
	member := fmt.Sprintf("PartOf=%[1]s.target\nAfter=%[1]s.target\n", sample.Group)
	for _, name := range s.serviceNames() {
		all[name+".service"] = unit(member, trivialArgs(false), "always")
	}
	if s.rounds > 0 {
		all[sample.Flap+".service"] = unit("", trivialArgs(true), "always")
	}
	var target strings.Builder
	target.WriteString(noDefaults)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&target, "Wants=%s\nAfter=%s\n", name, name)
	}
	all["bench.target"] = target.String()
	return all
}

// noDefaults begins a unit without the dependencies on targets that are not there.
const noDefaults = "[Unit]\nDefaultDependencies=no\n"

// unit renders one service.
func unit(dependencies string, args []string, restart string) string {
	return noDefaults + dependencies + "StartLimitIntervalSec=0\n" +
		"[Service]\nType=simple\nExecStart=" + strings.Join(args, " ") + "\n" +
		"Restart=" + restart + "\nRestartSec=0\nStandardInput=null\nStandardOutput=null\nStandardError=null\n"
}
