// Command init is Holdfast's PID 1: stage 1 in the initrd, stage 2 on the verified root, and the first steps of each child.
package main

import (
	"os"

	"holdfast/init/internal/proc"
)

func main() {
	switch {
	case os.Args[0] == proc.ChildName:
		os.Exit(proc.Child())
	case os.Getpid() != 1:
		os.Stderr.WriteString("init: runs as process 1 only\n")
		os.Exit(2)
	case os.Args[0] == "/init":
		stage1()
	default:
		stage2()
	}
}
