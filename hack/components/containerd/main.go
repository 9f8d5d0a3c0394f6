// Command containerd is upstream's daemon with the plugins that a Kubernetes node uses, and Holdfast's preload.
//
// PID 1 starts it while the state volume is made, and holds it until that is
// mounted (annotation holdfast.early).
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"

	"holdfast/hack/components/containerd/preload"
)

func main() {
	if gate, ok := os.LookupEnv(gateVariable); ok {
		if err := waitAtGate(gate); err != nil {
			fmt.Fprintln(os.Stderr, "containerd:", err)
			os.Exit(1)
		}
	}
	preload.Register()
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}
