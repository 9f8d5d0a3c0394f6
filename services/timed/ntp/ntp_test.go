package ntp

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

// An answer of a server of stratum 3.
const answer = "240308ec000005a800000e80c0a80001e5f4c1a83c0b4396e5f4c3b26b2b1f32e5f4c3b26c000000e5f4c3b26c012345"

func TestParse(t *testing.T) {
	raw, err := hex.DecodeString(answer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if p.Leap != LeapNone || p.Version != 4 || p.Mode != Server || p.Stratum != 3 || p.Poll != 8 || p.Precision != -20 || p.Kiss() != "" {
		t.Errorf("%+v", p)
	}
	if d := p.RootDelay.Duration(); d != 22094726 {
		t.Errorf("root delay %d ns", d)
	}
	if got := p.Receive.Time(time.Unix(0, 0)).UTC(); got.Format(time.RFC3339Nano) != "2022-04-04T01:09:06.421875Z" {
		t.Errorf("receive time %s", got.Format(time.RFC3339Nano))
	}
	if !bytes.Equal(p.Encode(), raw) {
		t.Errorf("encoded again: %x", p.Encode())
	}
	if _, err := Parse(raw[:Size-1]); err == nil {
		t.Error("47 bytes were taken for a packet")
	}
}

func TestKiss(t *testing.T) {
	for want, p := range map[string]Packet{
		"":     {Stratum: 1, ReferenceID: [4]byte{'R', 'A', 'T', 'E'}},
		"RATE": {ReferenceID: [4]byte{'R', 'A', 'T', 'E'}},
		"A???": {ReferenceID: [4]byte{'A', '\n', 0, 0xff}},
	} {
		if got := p.Kiss(); got != want {
			t.Errorf("%v: %q, want %q", p, got, want)
		}
	}
}

func TestTimestampsAcrossEras(t *testing.T) {
	pivot := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, text := range []string{
		"2026-01-01T00:00:00Z", "2026-11-24T21:25:57.123456789Z", "2036-02-07T06:28:15.999999999Z", "2036-02-07T06:28:16Z",
		"2100-06-30T23:59:59.5Z", "2162-02-07T00:00:00Z",
	} {
		want, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		got := TimestampOf(want).Time(pivot)
		if d := want.Sub(got); d < 0 || d > time.Nanosecond {
			t.Errorf("%s came back as %s", text, got.UTC().Format(time.RFC3339Nano))
		}
	}
	// What is before the pivot is taken for the next era.
	before := pivot.Add(-time.Second)
	if got := TimestampOf(before).Time(pivot); got.Sub(before) < 100*365*24*time.Hour {
		t.Errorf("a second before the pivot came back as %s", got)
	}
	if got := TimestampOf(pivot).Time(time.Unix(0, 0)); !got.Equal(pivot) {
		t.Errorf("from 1970 on: %s", got)
	}
}

func TestShort(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Microsecond, time.Second, 1500 * time.Millisecond, 65535 * time.Second} {
		if got := ShortOf(d).Duration(); got < d-time.Nanosecond || got-d > time.Second>>16 {
			t.Errorf("%s came back as %s", d, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	raw, err := hex.DecodeString(answer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(make([]byte, Size))
	f.Add([]byte("short"))
	pivot := time.Unix(1767225600, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), b[:Size]) {
			t.Fatalf("%x came back as %x", b[:Size], p.Encode())
		}
		if k := p.Kiss(); (k == "") != (p.Stratum != 0) || len(k) > 4 {
			t.Fatalf("kiss %q of stratum %d", k, p.Stratum)
		}
		if at := p.Transmit.Time(pivot); at.Before(pivot) || at.Sub(pivot) > 137*365*24*time.Hour {
			t.Fatalf("%v is not within an era from %v on", at, pivot)
		}
	})
}
