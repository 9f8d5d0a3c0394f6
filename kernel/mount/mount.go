// Package mount mounts, lists and unmounts file systems, with mount plans as tables.
package mount

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Flags of mount(2) that plans use.
const (
	NoSuid     = unix.MS_NOSUID
	NoDev      = unix.MS_NODEV
	NoExec     = unix.MS_NOEXEC
	ReadOnly   = unix.MS_RDONLY
	RelAtime   = unix.MS_RELATIME
	NoAtime    = unix.MS_NOATIME
	StrictTime = unix.MS_STRICTATIME
	Bind       = unix.MS_BIND
	Move       = unix.MS_MOVE
	Shared     = unix.MS_SHARED
	Rec        = unix.MS_REC
)

// Mount is one line of a mount plan. A target that does not exist is made
// with Mode when Mode is not zero.
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
	Mode                 os.FileMode
}

// Do carries out one line of a plan.
func (m Mount) Do() error {
	if m.Mode != 0 {
		if err := os.MkdirAll(m.Target, m.Mode); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
		return fmt.Errorf("mount %s at %s: %w", m.what(), m.Target, err)
	}
	return nil
}

func (m Mount) what() string {
	if m.Source == "" || m.Source == m.Type {
		return m.Type
	}
	return strings.TrimSpace(m.Type + " " + m.Source)
}

// Remount changes the flags of the mount at target.
func Remount(target string, flags uintptr) error {
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("remount %s: %w", target, err)
	}
	return nil
}

// Propagate sets the propagation of target and everything below it.
func Propagate(target string, flag uintptr) error {
	if err := unix.Mount("", target, "", flag|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("set propagation of %s: %w", target, err)
	}
	return nil
}

// Unmount unmounts target.
func Unmount(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// Force unmounts target, or at least has its file system give up all requests
// that a server does not answer, so that processes which wait for them end
// (MNT_FORCE; FUSE and network file systems know it).
func Force(target string) error {
	if err := unix.Unmount(target, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s by force: %w", target, err)
	}
	return nil
}

const fiFreeze = 0xc0045877 // FIFREEZE of include/uapi/linux/fs.h: _IOWR('X', 119, int)

// Freeze writes all of a file system to its disk, ends its journal and blocks
// every later change, whoever has files open.
func Freeze(target string) error {
	f, err := os.Open(target)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		return fmt.Errorf("freeze %s: %w", target, err)
	}
	return nil
}

// SwitchRoot makes newRoot the root directory: the listed mounts move into it,
// then it is moved over /. The old root's files are the caller's to remove
// beforehand.
func SwitchRoot(newRoot string, moves ...string) error {
	for _, m := range moves {
		if err := unix.Mount(m, filepath.Join(newRoot, m), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the new root: %w", m, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move new root over /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot into new root: %w", err)
	}
	return os.Chdir("/")
}

// Info is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Info struct {
	ID, Parent   int
	Major, Minor uint32
	Target       string
	Options      string
	Type         string
	Source       string
}

// List reads the mounts of this process, in the kernel's order: a mount comes
// after the one it lies on.
func List() ([]Info, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f)
}

// Parse reads mountinfo lines.
func Parse(r io.Reader) ([]Info, error) {
	var out []Info
	s := bufio.NewScanner(r)
	for s.Scan() {
		info, err := parseLine(s.Text())
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, s.Err()
}

var errShape = errors.New("not a mountinfo line")

func parseLine(line string) (Info, error) {
	before, after, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 6 || len(g) < 2 {
		return Info{}, fmt.Errorf("%w: %q", errShape, line)
	}
	var info Info
	if _, err := fmt.Sscanf(f[0]+" "+f[1]+" "+f[2], "%d %d %d:%d", &info.ID, &info.Parent, &info.Major, &info.Minor); err != nil {
		return Info{}, fmt.Errorf("%w: %q", errShape, line)
	}
	info.Target, info.Options, info.Type, info.Source = unescape(f[4]), f[5], g[0], unescape(g[1])
	return info, nil
}

// unescape undoes the octal escapes (\040) that the kernel writes for white space.
func unescape(s string) string {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Usage is how full a file system is.
type Usage struct{ TotalBytes, FreeBytes uint64 }

// Stat reads the usage of the file system at path.
func Stat(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	return Usage{st.Blocks * uint64(st.Bsize), st.Bavail * uint64(st.Bsize)}, nil
}
