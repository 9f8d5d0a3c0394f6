package node

import (
	"testing"
	"time"

	"holdfast/init/status"
	"holdfast/tests/qemu"
)

func TestFirmware(t *testing.T) {
	start := time.Unix(1000, 0)
	line := func(ms int, text string) qemu.Line {
		return qemu.Line{At: start.Add(time.Duration(ms) * time.Millisecond), Text: text}
	}
	console := []qemu.Line{
		line(100, "BdsDxe: loading Boot0001"), line(2500, "BdsDxe: starting Boot0001"), line(5000, "   1.200  mount kernel"),
	}
	for _, c := range []struct {
		noted   status.Firmware
		console []qemu.Line
		want    status.Firmware
	}{
		{status.Firmware{LoaderStartMs: 1, LoaderExecMs: 2}, console, status.Firmware{LoaderStartMs: 1, LoaderExecMs: 2}},
		{status.Firmware{}, console, status.Firmware{LoaderStartMs: 2500, LoaderExecMs: 3800}},
		{status.Firmware{}, console[:2], status.Firmware{}},
	} {
		if got := firmware(c.noted, start, c.console); got != c.want {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}
