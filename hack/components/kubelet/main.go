// Command kubelet is upstream's node agent, held at a gate until the services that it needs are ready.
//
// Under emulation kubelet takes two seconds from its exec to its first line.
// PID 1 starts it beside containerd and holds it there (annotation holdfast.gate),
// so that those seconds cost the boot nothing.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	command := app.NewKubeletCommand(context.Background())
	for _, prepare := range []func([]string) error{makeServingCertificate, waitAtGate} {
		if err := prepare(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "kubelet:", err)
			os.Exit(1)
		}
	}
	os.Exit(cli.Run(command))
}
