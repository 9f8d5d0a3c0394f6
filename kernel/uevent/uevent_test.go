package uevent

import (
	"os"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	e, err := Parse([]byte("add@/devices/vda/vda1\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=vda1\x00PARTN=1\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Action != "add" || e.Subsystem != "block" || e.Env["PARTN"] != "1" || e.DevPath != "/devices/vda/vda1" {
		t.Errorf("%+v", e)
	}
	if _, err := Parse([]byte("libudev\x00x")); err == nil {
		t.Error("a message without an action was taken")
	}
}

func TestNextKeepsItsDeadline(t *testing.T) {
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 100 { // events of the host may come first
		if _, err = l.Next(time.Now().Add(20 * time.Millisecond)); err != nil {
			break
		}
	}
	if !os.IsTimeout(err) {
		t.Errorf("got %v, want a timeout", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/x\x00A=b\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = Parse(b) })
}
