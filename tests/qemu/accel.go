package qemu

import (
	"context"
	"os"
	"regexp"
	"sync"
	"time"
)

// probeTimeout is how long the firmware may take under KVM; it needs about 2 s.
const probeTimeout = 20 * time.Second

// firmwareReady matches what the firmware prints when it looks for a boot device.
var firmwareReady = regexp.MustCompile(`BdsDxe: |UEFI Interactive Shell`)

// Accel is the accelerator that machines use: kvm where the firmware, with
// System Management Mode, comes up under it, else tcg. HOLDFAST_ACCEL overrides
// the probe, which runs once in a program.
func Accel() string {
	if accel := os.Getenv("HOLDFAST_ACCEL"); accel != "" {
		return accel
	}
	return probed()
}

// probed remembers a fact about the machine that we run on.
var probed = sync.OnceValue(func() string {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	dev.Close()
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	vm, err := startUnder(ctx, Config{Accel: "kvm", MemoryMiB: 256, NoNIC: true, NoTPM: true})
	if err != nil {
		return "tcg"
	}
	defer vm.Close()
	if _, err := vm.WaitConsole(ctx, firmwareReady); err != nil {
		return "tcg"
	}
	return "kvm"
})
