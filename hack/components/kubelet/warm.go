package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// firstPod is what the first pod's start executes and nothing has executed
// before: containerd asks its shim, and that asks runc, what they can do.
var firstPod = []string{"/opt/cni/bin/bridge", "/opt/cni/bin/host-local", "/opt/cni/bin/portmap"}

const (
	warmLimit    = 10 * time.Second // for each
	warmNiceness = 19
)

// warm executes those programs while kubelet starts, at the lowest priority, so
// that the first pod finds them verified, decompressed and in memory. What
// fails here will fail, and be told of, where it matters.
func warm() {
	runtime.LockOSThread() // never unlocked: the thread ends with its niceness
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, warmNiceness); err != nil {
		return
	}
	for _, path := range firstPod {
		ctx, cancel := context.WithTimeout(context.Background(), warmLimit)
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(), "CNI_COMMAND=VERSION")
		cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0"}`)
		_ = cmd.Run()
		cancel()
	}
}
