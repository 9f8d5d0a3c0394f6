// Command init is Holdfast's PID 1: stage 1 in the initrd, stage 2 on the verified root, and the first steps of each child.
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/proc"
)

// askedByKernel are the programs by which the kernel asks for an orderly end
// (kernel/reboot.c; Hyper-V's shutdown request does), and what PID 1 takes for
// the same. CONFIG_STATIC_USERMODEHELPER_PATH leads here.
var askedByKernel = map[string]unix.Signal{"/sbin/poweroff": unix.SIGTERM, "/sbin/reboot": unix.SIGINT}

func main() {
	signal, asked := askedByKernel[os.Args[0]]
	switch {
	case os.Args[0] == proc.ChildName:
		os.Exit(proc.Child())
	case asked && os.Getpid() != 1:
		if err := unix.Kill(1, signal); err != nil {
			os.Exit(1)
		}
	case os.Getpid() != 1:
		os.Stderr.WriteString("init: runs as process 1 only\n")
		os.Exit(2)
	case os.Args[0] == "/init":
		stage1()
	default:
		stage2()
	}
}
