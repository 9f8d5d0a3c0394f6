package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"time"
)

// firstPod is what the first pod's start executes, in that order, each with
// arguments by which it does nothing. The shim runs runc for its answer.
var firstPod = [][]string{
	{"/usr/bin/containerd-shim-runc-v2", "-info"},
	{"/opt/cni/bin/bridge"}, // CNI_COMMAND says what to do
	{"/opt/cni/bin/host-local"},
	{"/opt/cni/bin/portmap"},
	{"/usr/sbin/nft", "--version"},
	{"/usr/bin/runc", "--version"},
}

const warmLimit = 10 * time.Second // for each

// warm executes those programs while kubelet has nothing else to do, so that
// the first pod finds them verified, decompressed and in memory. What fails
// here will fail, and be told of, where it matters.
func warm(ctx context.Context) {
	for _, args := range firstPod {
		if ctx.Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, warmLimit)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CNI_COMMAND=VERSION")
		cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0"}`)
		_ = cmd.Run()
		cancel()
	}
}
