package proc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func owner(st os.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Uid }

const ownMounts = `, "linux": {"namespaces": [{"type": "mount"}]}`

// place is a directory with files and a file system below it.
func place(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	for _, d := range []string{"below", "empty"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(below, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// writes tries to write below directories and tells for each whether it could.
const writes = `w() { for d in "$@"; do if (: > $d/w) 2>/dev/null; then rm $d/w; printf 'rw '; else printf 'ro '; fi; done; }; `

func TestBindLive(t *testing.T) {
	l := start(t)
	dir := place(t)
	bind := func(options string) string {
		return `, "mounts": [{"destination": "/mnt", "source": "` + dir + `", "options": [` + options + `]}]` + ownMounts
	}
	for options, want := range map[string]string{
		`"bind"`:               "rw rw text", // the directory below the tmpfs
		`"rbind"`:              "rw rw text",
		`"bind", "ro"`:         "ro ro text",
		`"rbind", "ro"`:        "ro rw text", // of the mount itself, as mount(8)
		`"rbind", "rro"`:       "ro ro text",
		`"rbind", "rro", "rw"`: "rw ro text",
	} {
		l.says(writes+`w /mnt /mnt/below; cat /mnt/file`, ``, bind(options), want)
	}
	l.says(`grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6`, ``, bind(`"bind", "nosuid", "nodev", "noexec", "noatime"`), "rw,nosuid,nodev,noexec,noatime")
	l.says(`cat /mnt/x/y; ls /mnt`, ``, `, "mounts": [{"destination": "/mnt", "type": "tmpfs"}, {"destination": "/mnt/x/y", "source": "`+dir+`/file", "options": ["bind"]}]`+
		ownMounts, "text x")
	l.fails(``, `, "mounts": [{"destination": "/mnt", "source": "/no/such", "options": ["bind"]}]`+ownMounts,
		"make view: bind /no/such at /mnt: no such file or directory")
	l.fails(``, `, "root": {"readonly": true}, "mounts": [{"destination": "`+dir+`/new", "source": "/etc", "options": ["bind"]}]`+ownMounts,
		"make view: bind /etc at "+dir+"/new: make mount point: mkdir "+dir+"/new: read-only file system")
	if _, err := os.Stat("/mnt/x"); err == nil {
		t.Error("a mount point appeared on the host")
	}
}

func TestFileSystemsLive(t *testing.T) {
	l := start(t)
	l.says(`for d in a b c d; do stat -f -c %T /mnt/$d; done; stat -c %a /mnt/a; `+writes+`w /mnt/a /mnt/b`, ``,
		`, "mounts": [{"destination": "/mnt", "type": "tmpfs"}, {"destination": "/mnt/a", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0750", "size=64k", "nosuid"]},
		{"destination": "/mnt/b", "type": "sysfs", "options": ["ro"]}, {"destination": "/mnt/c", "type": "mqueue"},
		{"destination": "/mnt/d", "type": "proc", "options": ["hidepid=2"]}],
		"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "network"}, {"type": "pid"}]}`,
		"tmpfs sysfs mqueue proc 750 rw ro")
	l.fails(``, `, "mounts": [{"destination": "/mnt", "type": "tmpfs", "options": ["size=much"]}]`+ownMounts, "make view: mount tmpfs at /mnt: ")
}

// TestReadOnlyRootLive: everything is read-only but what is mounted over it,
// which keeps what the host allows.
func TestReadOnlyRootLive(t *testing.T) {
	l := start(t)
	dir := place(t)
	l.says(writes+`w / /tmp /dev/shm `+dir+` `+dir+`/below /run/holdfast-test; (echo x > /proc/sys/kernel/panic_on_warn) 2>/dev/null || echo ro; : > /dev/null && echo null`, ``,
		`, "root": {"readonly": true}, "mounts": [{"destination": "/run", "type": "tmpfs", "options": ["ro"]},
			{"destination": "`+dir+`/below", "source": "`+dir+`/below", "options": ["bind"]}]`+ownMounts,
		"ro ro ro ro rw ro ro null")
	// A read-only file system has its mount points all the same.
	l.says(writes+`w /run /run/x; ls /run`, ``, `, "root": {"readonly": true}, "mounts": [{"destination": "/run", "type": "tmpfs", "options": ["ro"]},
			{"destination": "/run/x", "source": "`+dir+`", "options": ["rbind"]}]`+ownMounts, "ro rw x")
}

func TestMaskedLive(t *testing.T) {
	l := start(t)
	dir := place(t)
	// What is masked or mounted over is let go of, and keeps nothing busy.
	for _, how := range []string{
		`, "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["` + dir + `/below"]}`,
		`, "mounts": [{"destination": "` + dir + `/below", "type": "tmpfs"}]` + ownMounts,
	} {
		l.says(`grep -c ' `+dir+`' /proc/self/mountinfo`, ``, how, "1")
	}
	l.says(`cat `+dir+`/file; ls -A `+dir+`/below; ls -A /proc/sys; wc -c < /proc/version; `+writes+`w `+dir+`/below /proc/sys; stat -c %F `+dir+`/file`, ``,
		`, "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["`+dir+`/file", "`+dir+`/below", "/proc/sys", "/proc/version", "/no/such"]}`,
		"0 ro ro character special file")
	// A view without devices has its files masked all the same.
	l.says(`wc -c < `+dir+`/file; stat -c %F `+dir+`/file /proc/version`, ``,
		`, "mounts": [{"destination": "/dev", "type": "tmpfs"}], "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["`+dir+`/file", "/proc/version"]}`,
		"0 character special file character special file")
	l.says(writes+`w `+dir+` `+dir+`/below `+dir+`/empty; cat `+dir+`/file; (echo > `+dir+`/file) 2>/dev/null || echo ro`, ``,
		`, "linux": {"namespaces": [{"type": "mount"}], "readonlyPaths": ["`+dir+`/file", "`+dir+`/below", "/no/such"]}`,
		"rw ro rw text ro")
}

// TestPropagationLive: what a service mounts does not reach the host unless it
// is below a shared bind; what the host mounts later arrives unless private.
func TestPropagationLive(t *testing.T) {
	l := start(t)
	dir := place(t)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	for linux, want := range map[string]string{
		``:                                  "host",
		`, "rootfsPropagation": "rslave"`:   "host",
		`, "rootfsPropagation": "rshared"`:  "host",
		`, "rootfsPropagation": "rprivate"`: "alone",
		`, "rootfsPropagation": "private"`:  "host", // of / only
		`, "maskedPaths": ["` + dir + `"]`:  "alone",
	} {
		in, out, done := conversation(t, l.r, confined(t, `mount -t tmpfs own `+dir+`/below 2>/dev/null; echo; read x; mountpoint -q `+dir+`/empty && echo host || echo alone`, ``,
			`, "linux": {"namespaces": [{"type": "mount"}]`+linux+`}`))
		if out(); strings.Contains(mounts(t), " own ") {
			t.Errorf("%s: the service's mount reached the host", linux)
		}
		if err := unix.Mount("late", dir+"/empty", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		in()
		if got := out(); got != want {
			t.Errorf("%s: got %s, want %s", linux, got, want)
		}
		done()
		if err := unix.Unmount(dir+"/empty", 0); err != nil {
			t.Fatal(err)
		}
	}
	// A bind that is to be shared stays a peer of the host's mount.
	in, out, done := conversation(t, l.r, confined(t, `mount -t tmpfs own /mnt/empty; echo; read x; umount /mnt/empty; echo`, ``,
		`, "mounts": [{"destination": "/mnt", "source": "`+dir+`", "options": ["rbind", "rshared"]}], "linux": {"namespaces": [{"type": "mount"}]}`))
	out()
	if !strings.Contains(mounts(t), " "+dir+"/empty ") {
		t.Error("a mount below a shared bind did not reach the host")
	}
	in()
	out()
	done()
}

func mounts(t *testing.T) string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
