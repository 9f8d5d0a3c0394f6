package ptp

import (
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSizesAreTheKernels(t *testing.T) {
	for name, test := range map[string]struct {
		size    uintptr
		request uint
	}{
		"ptp_sys_offset_precise":  {unsafe.Sizeof(unix.PtpSysOffsetPrecise{}), unix.PTP_SYS_OFFSET_PRECISE},
		"ptp_sys_offset_extended": {unsafe.Sizeof(unix.PtpSysOffsetExtended{}), unix.PTP_SYS_OFFSET_EXTENDED},
		"ptp_sys_offset":          {unsafe.Sizeof(unix.PtpSysOffset{}), unix.PTP_SYS_OFFSET},
	} {
		if want := uintptr(test.request >> 16 & 0x3fff); test.size != want { // _IOC_SIZE
			t.Errorf("%s has %d bytes, the request says %d", name, test.size, want)
		}
	}
}

func TestFind(t *testing.T) {
	class := t.TempDir()
	for device, name := range map[string]string{"ptp0": "52:54:00:12:34:56", "ptp1": HyperV, "ptp2": "hyperv2"} {
		if err := os.MkdirAll(filepath.Join(class, device), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, device, "clock_name"), []byte(name+"\n"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if node, name, err := Find(class, KVM, HyperV); node != "/dev/ptp1" || name != HyperV || err != nil {
		t.Errorf("%q, %q, %v", node, name, err)
	}
	if node, name, err := Find(class, KVM); node != "" || name != "" || err != nil {
		t.Errorf("%q, %q, %v, want nothing", node, name, err)
	}
	if node, _, err := Find(class+"/none", KVM); node != "" || err != nil {
		t.Errorf("%q, %v, want nothing", node, err)
	}
}

func at(sec int64, nsec uint32) unix.PtpClockTime { return unix.PtpClockTime{Sec: sec, Nsec: nsec} }

func TestReadings(t *testing.T) {
	p := precise(&unix.PtpSysOffsetPrecise{Device: at(1000, 5), Realtime: at(900, 5)})
	if p.Device.Sub(p.System) != 100*time.Second || p.Window != 0 {
		t.Errorf("precise: %+v", p)
	}
	x := unix.PtpSysOffsetExtended{Samples: 3}
	x.Ts[0] = [3]unix.PtpClockTime{at(10, 0), at(110, 2000), at(10, 9000)}
	x.Ts[1] = [3]unix.PtpClockTime{at(11, 0), at(111, 1000), at(11, 2000)} // the best
	x.Ts[2] = [3]unix.PtpClockTime{at(12, 0), at(112, 0), at(11, 0)}       // the clock was set back
	if r := extended(&x); r.Device.Sub(r.System) != 100*time.Second || r.Window != 2*time.Microsecond {
		t.Errorf("extended: %+v", r)
	}
	b := unix.PtpSysOffset{Samples: 2}
	for i, m := range []unix.PtpClockTime{at(10, 0), at(110, 500), at(10, 1000), at(110, 9000), at(10, 20000)} {
		b.Ts[i] = m
	}
	if r := basic(&b); r.Device.Sub(r.System) != 100*time.Second || r.Window != time.Microsecond {
		t.Errorf("basic: %+v", r)
	}
	// What no kernel says must not reach beyond the arrays.
	if r := extended(&unix.PtpSysOffsetExtended{Samples: 1 << 31}); r.Device.IsZero() {
		t.Error("extended: no reading")
	}
	if r := basic(&unix.PtpSysOffset{Samples: 1 << 31}); r.Device.IsZero() {
		t.Error("basic: no reading")
	}
	if r := extended(&unix.PtpSysOffsetExtended{}); !r.Device.IsZero() {
		t.Errorf("no samples: %+v", r)
	}
}

// TestReadNoClock: a device that is none says so, whatever was tried.
func TestReadNoClock(t *testing.T) {
	c, err := Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Read(); err == nil || c.way != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
