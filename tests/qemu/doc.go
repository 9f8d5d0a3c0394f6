// Package qemu starts virtual machines for tests and for the developer's tools.
//
// A machine is a q35 with System Management Mode, so that OVMF's Secure Boot
// variables are out of the guest's reach, a TPM 2.0 by swtpm, a serial console
// that is kept line by line, and a virtio-serial port on which PID 1 reports.
// The guest's network is QEMU's user network with restrict=on: a guest reaches
// nothing but the forwards that its Config names.
//
// # Decisions
//
// Every channel to QEMU and swtpm (QMP, console, status, TPM) is a socket pair
// whose end the process inherits: there is no path to collide on, no listener
// to wait for, and a channel ends exactly when its process does.
//
// Disks and firmware variables given in a Config are never written to, unless
// the Config says InPlace.
//
// The firmware that the machine needs is also what probes KVM: under a KVM that
// runs a boot sector, the kernel's decompressor has been seen to die.
package qemu
