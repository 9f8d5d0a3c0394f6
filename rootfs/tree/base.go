package tree

// Program is a file taken from a Debian package, and why the node has it.
type Program struct{ Package, Path, Reason string }

// Programs is the closed list of what the root takes from Debian, beside the
// shared libraries that these need.
var Programs = []Program{
	{"mount", "/usr/bin/mount", "kubelet mounts volumes by mount(8)"},
	{"mount", "/usr/bin/umount", "kubelet unmounts volumes by umount(8)"},
	{"e2fsprogs", "/usr/sbin/mkfs.ext4", "PID 1 makes the state volume; kubelet formats local volumes"},
	{"e2fsprogs", "/usr/sbin/e2fsck", "PID 1 repairs the state volume"},
	{"e2fsprogs", "/usr/sbin/resize2fs", "PID 1 and kubelet grow volumes"},
	{"e2fsprogs", "/etc/mke2fs.conf", "mkfs.ext4's defaults"},
	{"util-linux", "/usr/sbin/blkid", "kubelet looks at a volume before it formats it"},
	{"util-linux", "/usr/sbin/fsck", "kubelet checks a volume before it mounts it"},
	{"nftables", "/usr/sbin/nft", "CNI's portmap and bridge plugins write nftables rules"},
}

// CertificatePackage has the certificate authorities that image pulls trust.
const CertificatePackage = "ca-certificates"

// CertificateDir is where that package keeps them.
const CertificateDir = "usr/share/ca-certificates/mozilla"

// Libraries are the packages of the programs' shared libraries. A library that
// is missing here fails the build by name.
var Libraries = []string{
	"libc6", "libmount1", "libblkid1", "libselinux1", "libpcre2-8-0", "libext2fs2t64", "libcom-err2", "libss2", "libuuid1",
	"libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10", "libedit2", "libxtables12", "libtinfo6", "libbsd0", "libmd0",
}

// Packages lists the Debian packages that the root takes files from.
func Packages() []string {
	out := []string{CertificatePackage}
	seen := map[string]bool{}
	for _, p := range Programs {
		if !seen[p.Package] {
			seen[p.Package] = true
			out = append(out, p.Package)
		}
	}
	return append(out, Libraries...)
}

// Users and groups, as in passwd(5) and group(5). Members of holdfast-reader and
// holdfast-operator may use PID 1's control socket.
const (
	passwd = `root:x:0:0:root:/:/sbin/nologin
timed:x:100:100:timed:/:/sbin/nologin
holdfast-apid:x:902:902::/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
`
	group = `root:x:0:
tty:x:5:
timed:x:100:
holdfast-reader:x:900:
holdfast-operator:x:901:
holdfast-apid:x:902:
nogroup:x:65534:
`
)

// Base is what every root has, whatever runs on it.
func Base(version string) []File {
	files := []File{
		{Path: "/etc/passwd", Mode: 0o644, Data: []byte(passwd)},
		{Path: "/etc/group", Mode: 0o644, Data: []byte(group)},
		{Path: "/etc/hosts", Link: "/run/holdfast/hosts"},
		{Path: "/etc/nsswitch.conf", Mode: 0o644, Data: []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
		{Path: "/etc/machine-id", Mode: 0o444},
		{Path: "/etc/resolv.conf", Link: "/run/holdfast/netd/resolv.conf"},
		{Path: "/etc/hostname", Link: "/run/holdfast/hostname"},
		{Path: "/etc/mtab", Link: "/proc/self/mounts"},
		{Path: "/etc/os-release", Link: "../usr/lib/os-release"},
		{Path: "/usr/lib/holdfast/usermode-helper", Link: "/usr/sbin/init"}, // CONFIG_STATIC_USERMODEHELPER_PATH
		{Path: "/usr/lib/os-release", Mode: 0o644, Data: []byte(OSRelease(version))},
		{Path: "/bin", Link: "usr/bin"},
		{Path: "/sbin", Link: "usr/sbin"},
		{Path: "/lib", Link: "usr/lib"},
		{Path: "/lib64", Link: "usr/lib64"},
		{Path: "/usr/lib64/ld-linux-x86-64.so.2", Link: "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
		{Path: "/tmp", Dir: true, Mode: 0o755},
	}
	for _, dir := range []string{
		"/proc", "/sys", "/dev", "/run", "/var", "/mnt", "/home",
		"/etc/cni/net.d", "/etc/kubernetes", "/opt/cni/bin", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
	} {
		files = append(files, File{Path: dir, Dir: true, Mode: 0o755})
	}
	return files
}

// OSRelease is os-release(5) of a version.
func OSRelease(version string) string {
	return "ID=holdfast\nNAME=Holdfast\nPRETTY_NAME=\"Holdfast " + version + "\"\nVERSION_ID=" + version + "\n"
}
