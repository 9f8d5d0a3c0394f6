// Package ptp reads PTP clocks (include/uapi/linux/ptp_clock.h), through which a hypervisor shows a guest its own time.
//
// A device has a name in /sys/class/ptp/*/clock_name and one or more ways to
// be read, from the best to the poorest:
//
//	PTP_SYS_OFFSET_PRECISE   device and system time of the same instant
//	PTP_SYS_OFFSET_EXTENDED  system time just before and after each reading
//	PTP_SYS_OFFSET           readings of the system and the device in turn
//
// KVM's has the first and the last, Hyper-V's only the last.
package ptp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of the clocks that are a hypervisor's.
const (
	KVM    = "KVM virtual PTP" // drivers/ptp/ptp_kvm_common.c
	HyperV = "hyperv"          // drivers/hv/hv_util.c
)

// Class is where the kernel lists its PTP clocks.
const Class = "/sys/class/ptp"

// Find returns the device node of the first clock with one of the names, and
// that name; empty when there is none.
func Find(class string, names ...string) (node, name string, err error) {
	files, err := filepath.Glob(filepath.Join(class, "*", "clock_name"))
	if err != nil {
		return "", "", err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("read PTP clock's name: %w", err)
		}
		for _, want := range names {
			if strings.TrimSpace(string(b)) == want {
				return "/dev/" + filepath.Base(filepath.Dir(file)), want, nil
			}
		}
	}
	return "", "", nil
}

// Clock is an open PTP clock.
type Clock struct {
	f   *os.File
	way int // into ways: the first that the device has
}

// Open opens a clock for reading.
func Open(node string) (*Clock, error) {
	f, err := os.Open(node)
	if err != nil {
		return nil, fmt.Errorf("open PTP clock: %w", err)
	}
	return &Clock{f: f}, nil
}

// Close closes the clock.
func (c *Clock) Close() error { return c.f.Close() }

// Reading is the device's time beside the system's. The two were read within
// Window of each other, so the offset is wrong by at most half of it.
type Reading struct {
	Device, System time.Time
	Window         time.Duration
}

// The requests of ioctl(2) that read a clock.
const (
	Precise  = unix.PTP_SYS_OFFSET_PRECISE
	Extended = unix.PTP_SYS_OFFSET_EXTENDED
	Basic    = unix.PTP_SYS_OFFSET
)

var ways = []func(fd uintptr) (Reading, error){readPrecise, readExtended, readBasic}

// Read reads the clock the best way that the device has.
func (c *Clock) Read() (Reading, error) {
	var err error
	for ; c.way < len(ways); c.way++ {
		var r Reading
		if r, err = ways[c.way](c.f.Fd()); err == nil && r.Device.IsZero() {
			err = errors.New("system clock was set meanwhile")
		}
		if err == nil {
			return r, nil
		}
		if !missing(err) {
			return Reading{}, fmt.Errorf("read %s: %w", c.f.Name(), err)
		}
	}
	c.way = 0 // look again next time
	return Reading{}, fmt.Errorf("read %s: %w", c.f.Name(), err)
}

// missing reports whether the device cannot be read in this way at all; ENODEV
// is KVM's answer when the system does not run on the TSC.
func missing(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

// samples is how often one call reads the device; the best reading counts.
const samples = 5

func readPrecise(fd uintptr) (Reading, error) {
	var raw unix.PtpSysOffsetPrecise
	err := ioctl(fd, Precise, unsafe.Pointer(&raw))
	return precise(&raw), err
}

func readExtended(fd uintptr) (Reading, error) {
	raw := unix.PtpSysOffsetExtended{Samples: samples}
	err := ioctl(fd, Extended, unsafe.Pointer(&raw))
	return extended(&raw), err
}

func readBasic(fd uintptr) (Reading, error) {
	raw := unix.PtpSysOffset{Samples: samples}
	err := ioctl(fd, Basic, unsafe.Pointer(&raw))
	return basic(&raw), err
}

func ioctl(fd, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func precise(raw *unix.PtpSysOffsetPrecise) Reading {
	return Reading{Device: moment(raw.Device), System: moment(raw.Realtime)}
}

// extended: ts[i] is system, device, system.
func extended(raw *unix.PtpSysOffsetExtended) Reading {
	var best Reading
	for i := range min(int(raw.Samples), len(raw.Ts)) {
		best = better(best, between(moment(raw.Ts[i][0]), moment(raw.Ts[i][1]), moment(raw.Ts[i][2])))
	}
	return best
}

// basic: system, device, system, device, …, system.
func basic(raw *unix.PtpSysOffset) Reading {
	var best Reading
	for i := range min(int(raw.Samples), (len(raw.Ts)-1)/2) {
		best = better(best, between(moment(raw.Ts[2*i]), moment(raw.Ts[2*i+1]), moment(raw.Ts[2*i+2])))
	}
	return best
}

func between(before, device, after time.Time) Reading {
	window := after.Sub(before)
	return Reading{Device: device, System: before.Add(window / 2), Window: window}
}

// better is the reading with the smaller window; the zero Reading is none, and
// one whose window is below zero saw the system's clock being set.
func better(a, b Reading) Reading {
	if b.Window >= 0 && (a.Device.IsZero() || b.Window < a.Window) {
		return b
	}
	return a
}

func moment(t unix.PtpClockTime) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
