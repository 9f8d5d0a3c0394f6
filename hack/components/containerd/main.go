// Command containerd is upstream's daemon with the plugins that a Kubernetes node uses, and Holdfast's preload.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"

	"holdfast/hack/components/containerd/preload"
)

func main() {
	preload.Register()
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}
