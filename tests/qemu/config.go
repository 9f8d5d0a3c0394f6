package qemu

import "io"

// Config describes a machine. The zero value is a machine that boots nothing:
// 2 GiB, 2 CPUs, TPM, a virtio network card without forwards, no disk.
type Config struct {
	Disk     string // raw image to boot; the machine works on a qcow2 overlay of it
	DiskSize int64  // bytes; larger than the image: the disk is grown to it
	CopyDisk bool   // work on a sparse raw copy instead of an overlay
	InPlace  bool   // work on Disk itself, which may also be a *.qcow2
	DiskBus  string // virtio-blk (default), nvme, virtio-scsi
	Cache    string // unsafe (default), writeback, writethrough, directsync, none

	Kernel  string // booted directly, without firmware: no Secure Boot, nothing measured before it
	Initrd  string // of Kernel
	Cmdline string // of Kernel

	Vars   string            // firmware variables to start from; default: empty ones, no Secure Boot
	FWCfg  map[string]string // firmware configuration: name → content
	Drives []Drive           // further disks, never booted from

	MemoryMiB int    // default 2048
	Prealloc  bool   // have the host's memory before the guest starts, so that it does not wait for it
	CPUs      int    // default 2
	Accel     string // tcg or kvm; default: what Accel finds
	CPU       string // QEMU's -cpu; default: host under KVM, else DefaultTCGCPU

	NoNIC         bool
	Forwards      []Forward
	GuestForwards []GuestForward

	NoTPM    bool
	TPMDir   string // keeps the TPM's state over machines; default: fresh, in Dir
	Watchdog bool   // i6300esb; when it fires, the machine is reset
	Reboot   bool   // a guest's reboot restarts the machine; default: it ends it

	Dir     string    // the machine's files, left there; default: temporary, removed
	Console io.Writer // gets a copy of every console line
	Args    []string  // further QEMU arguments
}

// Drive is a further disk. It is written to only when Writable.
type Drive struct {
	File     string // raw, or *.qcow2
	Bus      string // virtio-blk (default), nvme, virtio-scsi, cdrom
	Writable bool
}

// Forward lets the host reach a TCP port of the guest, on 127.0.0.1.
type Forward struct {
	Guest int
	Host  int // 0: QEMU takes a free one, see VM.Addr
}

// GuestForward lets the guest reach a TCP address of the host, under an address
// of the guest's network 10.0.2.0/24.
type GuestForward struct {
	Guest string // such as 10.0.2.100:5000
	Host  string // such as 127.0.0.1:40123
}

func (c Config) withDefaults() Config {
	setDefault(&c.DiskBus, "virtio-blk")
	setDefault(&c.Cache, "unsafe")
	setDefault(&c.Vars, emptyVars)
	setDefault(&c.MemoryMiB, 2048)
	setDefault(&c.CPUs, 2)
	if c.CPU == "" && c.Accel == "kvm" {
		c.CPU = "host"
	}
	setDefault(&c.CPU, DefaultTCGCPU)
	return c
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
