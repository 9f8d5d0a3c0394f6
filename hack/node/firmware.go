package node

import (
	"regexp"
	"strconv"
	"time"

	"holdfast/init/status"
	"holdfast/tests/qemu"
)

var (
	loaderLine = regexp.MustCompile(`^BdsDxe: starting `)
	firstStep  = regexp.MustCompile(`^\s*(\d+\.\d{3})  mount kernel`) // PID 1's first line, with the kernel's time
)

// firmware tells how long the machine took before its kernel. The boot loader
// notes that itself where the processor tells it the frequency of its time
// stamp counter; a QEMU without KVM does not, and then it is what the host saw
// on the console.
func firmware(noted status.Firmware, started time.Time, console []qemu.Line) status.Firmware {
	if noted.LoaderStartMs > 0 {
		return noted
	}
	var seen status.Firmware
	for _, l := range console {
		if loaderLine.MatchString(l.Text) {
			seen.LoaderStartMs = l.At.Sub(started).Milliseconds()
		}
		if m := firstStep.FindStringSubmatch(l.Text); m != nil {
			at, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				continue
			}
			seen.LoaderExecMs = l.At.Sub(started).Milliseconds() - int64(at*1000)
			return seen
		}
	}
	return status.Firmware{}
}
