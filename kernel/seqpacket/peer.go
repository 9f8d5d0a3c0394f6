package seqpacket

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/kernel/cgroup"
)

// Peer is the process that called connect(2), as it was then.
type Peer struct {
	PID    int // in this process's PID namespace; 0: not visible there
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary ones

	pidfd int
}

// Peer asks the kernel who is at the other end (SO_PEERCRED, SO_PEERGROUPS,
// SO_PEERPIDFD; socket(7)). The caller closes it.
func (c *Conn) Peer() (p Peer, err error) {
	rawErr := c.raw.Control(func(fd uintptr) { p, err = peer(int(fd)) })
	if err = c.result(rawErr, err); err != nil {
		return Peer{}, fmt.Errorf("ask for the peer: %w", err)
	}
	return p, nil
}

func peer(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, err
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, err
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return Peer{}, fmt.Errorf("process %d: %w", cred.Pid, err)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Groups: groups, pidfd: pidfd}, nil
}

// maxGroups is NGROUPS_MAX of include/uapi/linux/limits.h.
const maxGroups = 65536

func peerGroups(fd int) ([]uint32, error) {
	for n := uint32(32); n <= maxGroups; {
		groups := make([]uint32, n)
		size := n * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case unix.ERANGE:
			n = max(size/4, n+1) // the kernel says how many there are
		default:
			return nil, errno
		}
	}
	return nil, unix.E2BIG
}

// Member tells whether the peer is in a group.
func (p Peer) Member(gid uint32) bool { return p.GID == gid || slices.Contains(p.Groups, gid) }

// Cgroup is the control group that the peer is in now. Its pidfd proves that
// the PID still meant the peer when the group was read; a peer that has ended
// is an error.
func (p Peer) Cgroup() (string, error) {
	path, err := cgroup.Of(p.PID)
	if err == nil {
		err = unix.PidfdSendSignal(p.pidfd, 0, nil, 0)
	}
	if err != nil {
		return "", fmt.Errorf("find the cgroup of process %d: %w", p.PID, err)
	}
	return path, nil
}

// Close lets go of the peer's pidfd.
func (p Peer) Close() { unix.Close(p.pidfd) }
