package main

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCall holds a call against the D-Bus Specification's layout, worked out by hand.
func TestCall(t *testing.T) {
	s := &systemd{serial: 6}
	var body marshaller
	body.str("a.service")
	body.str("replace")
	got := s.call("StopUnit", "ss", body)
	text := func(s string) string { return hex.EncodeToString([]byte(s)) }
	want := strings.Join([]string{
		"6c010001", "1c000000", "07000000", "a0000000", // little-endian, call; body, serial, length of the fields
		"01016f00", "19000000", text("/org/freedesktop/systemd1"), "00", "000000000000",
		"02017300", "20000000", text("org.freedesktop.systemd1.Manager"), "00", "00000000000000",
		"03017300", "08000000", text("StopUnit"), "00", "00000000000000",
		"06017300", "18000000", text("org.freedesktop.systemd1"), "00", "00000000000000",
		"08016700", "02", text("ss"), "00", "",
		"", "09000000", text("a.service"), "00", "0000",
		"07000000", text("replace"), "00",
	}, "")
	gotText := hex.EncodeToString(got)
	if gotText != want {
		t.Errorf("got\n%s\nexpected\n%s", gotText, want)
	}
}

func TestStrings(t *testing.T) {
	var m marshaller
	m.strings("ab", "c")
	if got, want := hex.EncodeToString(m), "0e000000"+"020000006162"+"0000"+"010000006300"; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func TestField(t *testing.T) {
	text := "Name:\tinit\nVmRSS:\t    6600 kB\nRssAnon:\t 12 kB\nvoluntary_ctxt_switches:\t7\nEmpty:\n"
	for name, want := range map[string]int64{"VmRSS": 6600, "RssAnon": 12, "voluntary_ctxt_switches": 7} {
		if got, err := field(text, name); err != nil || got != want {
			t.Errorf("%s: %d, %v, expected %d", name, got, err, want)
		}
	}
	for _, name := range []string{"Rss", "Name", "Empty", "ctxt_switches"} {
		if got, err := field(text, name); err == nil {
			t.Errorf("%s: %d, expected an error", name, got)
		}
	}
}

func TestSwitched(t *testing.T) {
	before := map[string]int64{"1": 10, "2": 5, "3": 1}
	for _, c := range []struct {
		after map[string]int64
		want  int64
	}{
		{map[string]int64{"1": 10, "2": 5, "3": 1}, 0},
		{map[string]int64{"1": 12, "2": 5}, 2},
		{map[string]int64{"1": 10, "2": 5, "4": 3}, 3},
	} {
		if got := switched(before, c.after); got != c.want {
			t.Errorf("%v: %d, expected %d", c.after, got, c.want)
		}
	}
}

func TestOwnSwitchesAreCounted(t *testing.T) {
	before, err := switches("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(10 * time.Millisecond)
	after, err := switches("/proc/self/task")
	if err != nil || switched(before, after) == 0 {
		t.Errorf("a program that waited did not switch: %v", err)
	}
}

// TestTrivialService runs the measured service: its records are in order, of
// this clock, and its end is the FIFO's.
func TestTrivialService(t *testing.T) {
	dir := t.TempDir()
	program, fifo, again := filepath.Join(dir, "trivial"), filepath.Join(dir, "records"), filepath.Join(dir, "go")
	out, err := exec.Command("gcc", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
		"-Os", "-o", program, "../peer/trivial/trivial.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rs, err := openRecords(fifo)
	if err != nil {
		t.Fatal(err)
	}
	bell, err := openFIFO(again, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer bell.Close()
	began := now()
	flap, idle := exec.Command(program, "f", fifo, again), exec.Command(program, "s", fifo)
	if err := flap.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := rs.next()
	if err != nil || started.kind != kindStart || started.pid != flap.Process.Pid || started.at < began || started.at > now() {
		t.Fatalf("start record %+v of process %d after %d: %v", started, flap.Process.Pid, began, err)
	}
	if _, err := bell.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if ended, err := rs.next(); err != nil || ended.kind != kindExit || ended.at < started.at {
		t.Errorf("exit record %+v after %+v: %v", ended, started, err)
	}
	if err := flap.Wait(); err != nil {
		t.Errorf("it did not end well: %v", err)
	}
	if err := idle.Start(); err != nil {
		t.Fatal(err)
	}
	if err := rs.skip(1); err != nil {
		t.Fatal(err)
	}
	if err := idle.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := rs.waitEnd(); err != nil {
		t.Error(err)
	}
	_ = idle.Wait() // ended by the signal
}
