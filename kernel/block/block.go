// Package block finds block devices in sysfs, reads their geometry and resizes partitions in place.
package block

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a whole block device.
type Disk struct {
	Name       string // as in /sys/block
	SizeBytes  int64
	SectorSize int // logical, bytes
}

// Node is the disk's device node.
func (d Disk) Node() string { return "/dev/" + d.Name }

// Partition is the node of the disk's partition with that number, and whether
// the kernel knows it.
func (d Disk) Partition(number int) (string, bool) {
	dirs, err := filepath.Glob(filepath.Join("/sys/block", d.Name, d.Name+"*", "partition"))
	if err != nil {
		return "", false
	}
	for _, file := range dirs {
		if n, err := readInt(file); err == nil && n == int64(number) {
			return "/dev/" + filepath.Base(filepath.Dir(file)), true
		}
	}
	return "", false
}

// Disks lists the disks that can hold a partition table: no loop, RAM,
// device-mapper or empty devices.
func Disks() ([]Disk, error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	var out []Disk
	for _, e := range entries {
		if d, ok := disk(e.Name()); ok {
			out = append(out, d)
		}
	}
	return out, nil
}

func disk(name string) (Disk, bool) {
	for _, prefix := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd"} {
		if strings.HasPrefix(name, prefix) {
			return Disk{}, false
		}
	}
	sectors, err := readInt(filepath.Join("/sys/block", name, "size"))
	if err != nil || sectors == 0 {
		return Disk{}, false
	}
	size, err := readInt(filepath.Join("/sys/block", name, "queue/logical_block_size"))
	if err != nil {
		return Disk{}, false
	}
	return Disk{Name: name, SizeBytes: sectors * 512, SectorSize: int(size)}, true
}

// SetReadAhead sets how many bytes a disk's page cache reads ahead
// (Documentation/ABI/stable/sysfs-block, queue/read_ahead_kb).
func SetReadAhead(disk string, sizeBytes int) error {
	file := filepath.Join("/sys/class/block", disk, "queue/read_ahead_kb")
	if err := os.WriteFile(file, []byte(strconv.Itoa(sizeBytes>>10)), 0); err != nil {
		return fmt.Errorf("set read-ahead: %w", err)
	}
	return nil
}

func readInt(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// blkpgPartition is struct blkpg_partition of include/uapi/linux/blkpg.h.
type blkpgPartition struct {
	Start, Length int64
	Number        int32
	Devname       [64]byte
	Volname       [64]byte
	_             [4]byte
}

type blkpgArg struct {
	Op, Flags, Datalen int32
	_                  int32
	Data               *blkpgPartition
}

// ResizePartition tells the kernel the new extent of a partition of disk,
// which may be mounted (BLKPG_RESIZE_PARTITION).
func ResizePartition(disk string, number int, startBytes, lengthBytes int64) error {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	part := blkpgPartition{Start: startBytes, Length: lengthBytes, Number: int32(number)}
	arg := blkpgArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: &part}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return fmt.Errorf("resize partition %d of %s: %w", number, disk, errno)
	}
	return nil
}
