package qemu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	machine   = "q35,vmport=off,hpet=off,sata=off"
	firmware  = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	emptyVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// DefaultTCGCPU is the CPU model under TCG. QEMU 7.2 leaves wrong flags behind
// when an interrupt or a fault meets cmpxchg16b: under load Debian's 6.12 kernel,
// whose allocator uses it, died of a double fault within seconds in 6 of 6 runs,
// and in none of 6 without the instruction. TCG works "rep movsb" off byte by
// byte, so a kernel must not take it for fast (erms, fsrm): reading 57 MiB from
// the page cache took 0.88 s with these flags and 0.04 s without.
const DefaultTCGCPU = "max,-cx16,-erms,-fsrm"

// wiring is what a machine's command line names beside its Config.
type wiring struct {
	vars       string
	disk       string            // empty: none
	fwCfg      map[string]string // name → file
	qmp        int               // descriptors that QEMU inherits
	console    int
	status     int
	tpm        int // 0: none
	pipe       string
	statusPort string
}

// arguments renders a machine's QEMU command line.
func arguments(c Config, w wiring) ([]string, error) {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-cpu", c.CPU, "-smp", strconv.Itoa(c.CPUs), "-m", strconv.Itoa(c.MemoryMiB),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", w.qmp), "-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", w.console), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=status,fd=%d", w.status),
		"-device", "virtserialport,chardev=status,name=" + w.statusPort,
		"-device", "virtio-rng-pci",
		"-object", "iothread,id=io",
	}
	switch c.Accel {
	case "kvm":
		args = append(args, "-accel", "kvm")
	case "tcg":
		args = append(args, "-accel", "tcg,thread=multi,tb-size=512")
	default:
		return nil, fmt.Errorf("accelerator %q: expected kvm or tcg", c.Accel)
	}
	args = append(args, bootArguments(c, w)...)
	drives, err := driveArguments(c, w)
	if err != nil {
		return nil, err
	}
	args = append(args, drives...)
	args = append(args, netArguments(c, w)...)
	return append(args, optionArguments(c, w)...), nil
}

// bootArguments are the firmware that finds a boot loader on the disk, or the
// kernel that is started in its place.
func bootArguments(c Config, w wiring) []string {
	if c.Kernel != "" {
		args := []string{"-machine", machine, "-kernel", c.Kernel, "-append", c.Cmdline}
		if c.Initrd != "" {
			args = append(args, "-initrd", c.Initrd)
		}
		return args
	}
	return []string{
		"-machine", machine + ",smm=on",
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-global", "ICH9-LPC.disable_s3=1",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + firmware,
		"-drive", "if=pflash,unit=1,format=raw,file=" + escape(w.vars),
	}
}

func optionArguments(c Config, w wiring) (args []string) {
	if w.tpm != 0 {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", w.tpm),
			"-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0")
	}
	for _, name := range slices.Sorted(maps.Keys(w.fwCfg)) {
		args = append(args, "-fw_cfg", "name="+escape(name)+",file="+escape(w.fwCfg[name]))
	}
	if c.Prealloc {
		args = append(args, "-mem-prealloc")
	}
	if c.Watchdog {
		args = append(args, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	if !c.Reboot {
		args = append(args, "-no-reboot")
	}
	return append(args, c.Args...)
}

// buses names the device of each kind of disk, and the controller it needs.
var buses = map[string]struct{ device, controller string }{
	"virtio-blk":  {device: "virtio-blk-pci,iothread=io"},
	"nvme":        {device: "nvme,serial=%s"},
	"virtio-scsi": {device: "scsi-hd", controller: "virtio-scsi-pci"},
	"cdrom":       {device: "scsi-cd", controller: "virtio-scsi-pci"},
}

func driveArguments(c Config, w wiring) ([]string, error) {
	drives := c.Drives
	if w.disk != "" {
		drives = append([]Drive{{File: w.disk, Bus: c.DiskBus, Writable: true}}, drives...)
	}
	var args []string
	controllers := map[string]bool{}
	for i, d := range drives {
		setDefault(&d.Bus, "virtio-blk")
		bus, ok := buses[d.Bus]
		if !ok {
			return nil, fmt.Errorf("disk %s: bus %q: expected one of %s", d.File, d.Bus,
				strings.Join(slices.Sorted(maps.Keys(buses)), ", "))
		}
		if bus.controller != "" && !controllers[bus.controller] {
			args = append(args, "-device", bus.controller)
			controllers[bus.controller] = true
		}
		id := fmt.Sprintf("disk%d", i)
		device := strings.ReplaceAll(bus.device, "%s", id) + ",drive=" + id
		if i == 0 && w.disk != "" && c.Kernel == "" { // -kernel takes the first place itself
			device += ",bootindex=0"
		}
		args = append(args, "-drive", driveArgument(c, d, id), "-device", device)
	}
	return args, nil
}

func driveArgument(c Config, d Drive, id string) string {
	arg := fmt.Sprintf("if=none,id=%s,format=%s,file=%s", id, diskFormat(d.File), escape(d.File))
	if !d.Writable {
		return arg + ",readonly=on"
	}
	return arg + ",discard=unmap,cache=" + c.Cache
}

func diskFormat(file string) string {
	if strings.HasSuffix(file, ".qcow2") {
		return "qcow2"
	}
	return "raw"
}

func netArguments(c Config, w wiring) []string {
	if c.NoNIC {
		return nil
	}
	net := "user,id=net0,restrict=on"
	for _, f := range c.Forwards {
		net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	for _, f := range c.GuestForwards {
		net += fmt.Sprintf(",guestfwd=tcp:%s-cmd:%s %s %s", f.Guest, escape(w.pipe), pipeCommand, f.Host)
	}
	return []string{"-netdev", net, "-device", "virtio-net-pci,netdev=net0,romfile="}
}

// escape makes s a value in a QEMU option, where a comma ends one.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
