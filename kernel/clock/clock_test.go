package clock

import (
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestTimexIsTheKernels(t *testing.T) {
	if n := unsafe.Sizeof(unix.Timex{}); n != 208 {
		t.Errorf("struct timex has %d bytes, want 208", n)
	}
}

func TestStepping(t *testing.T) {
	for _, test := range []struct {
		offset    time.Duration
		sec, nsec int64
	}{
		{0, 0, 0},
		{1500 * time.Millisecond, 1, 500000000},
		{-1, -1, 999999999},
		{-time.Second, -1, 0},
		{-1500 * time.Millisecond, -2, 500000000},
		{36 * 365 * 24 * time.Hour, 36 * 365 * 24 * 3600, 0},
	} {
		got := stepping(test.offset, Quality{})
		if got.Time.Sec != test.sec || got.Time.Usec != test.nsec {
			t.Errorf("%s: %d s %d ns, want %d s %d ns", test.offset, got.Time.Sec, got.Time.Usec, test.sec, test.nsec)
		}
		if got.Modes&(unix.ADJ_SETOFFSET|unix.ADJ_NANO|unix.ADJ_STATUS) != unix.ADJ_SETOFFSET|unix.ADJ_NANO|unix.ADJ_STATUS || got.Status != 0 {
			t.Errorf("%s: modes %#x, status %#x", test.offset, got.Modes, got.Status)
		}
	}
}

func TestSlewing(t *testing.T) {
	q := Quality{MaxError: 1500 * time.Nanosecond, EstError: time.Microsecond, Leap: Insert}
	for offset, want := range map[time.Duration]int64{
		time.Millisecond: 1e6, -time.Nanosecond: -1, time.Hour: 5e8, -time.Hour: -5e8,
	} {
		got := slewing(Loop{Offset: offset, Constant: 3}, q)
		const modes = unix.ADJ_OFFSET | unix.ADJ_TIMECONST | unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR
		if got.Offset != want || got.Modes != modes || got.Constant != 3 || got.Maxerror != 2 || got.Esterror != 1 {
			t.Errorf("%s: %+v", offset, got)
		}
		if got.Status != unix.STA_PLL|unix.STA_INS {
			t.Errorf("%s: status %#x", offset, got.Status)
		}
	}
	if got := slewing(Loop{Phase: true}, Quality{Leap: Delete}).Status; got != unix.STA_PLL|unix.STA_FREQHOLD|unix.STA_DEL {
		t.Errorf("status %#x", got)
	}
}

func TestStateOf(t *testing.T) {
	got := stateOf(unix.Timex{
		Status: unix.STA_NANO | unix.STA_PLL | unix.STA_INS, Offset: -1500, Freq: -50 << 16, Maxerror: 2500, Esterror: 1,
	})
	want := State{true, -1500, -50, Quality{2500 * time.Microsecond, time.Microsecond, Insert}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := stateOf(unix.Timex{Status: unix.STA_UNSYNC, Offset: 7}); got.Synced || got.Offset != 7*time.Microsecond {
		t.Errorf("%+v", got)
	}
}

// TestRead reads the machine's own clock, and sets nothing.
func TestRead(t *testing.T) {
	if _, err := Read(); err != nil {
		t.Error(err)
	}
	if behind, err := Raise(time.Now().Add(-time.Hour)); behind != 0 || err != nil {
		t.Errorf("a time in the past: %s, %v", behind, err)
	}
}

func TestStamp(t *testing.T) {
	a, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := Stamp(a); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if _, err := a.WriteToUDP([]byte("x"), a.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	buf, control := make([]byte, 16), make([]byte, StampSize)
	_, n, _, _, err := a.ReadMsgUDP(buf, control)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := Arrival(control[:n])
	if now := time.Now(); !ok || at.Before(before.Round(0)) || at.After(now) {
		t.Errorf("arrived at %v, %v, want between %v and %v", at, ok, before, now)
	}
	for _, bad := range [][]byte{nil, {1}, control[:n-1], make([]byte, 64)} {
		if at, ok := Arrival(bad); ok {
			t.Errorf("%x was taken for %v", bad, at)
		}
	}
}
