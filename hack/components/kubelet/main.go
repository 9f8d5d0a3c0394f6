// Command kubelet is upstream's node agent, fitted to a supervisor that is not systemd.
//
// Where PID 1 runs it (annotation holdfast.gate), it is started beside
// containerd and held until that is ready: under emulation kubelet takes two
// seconds from its exec to its first line, which then cost the boot nothing.
// SIGUSR1 says that the machine goes down: kubelet ends its pods by their
// priority and grace periods first. SIGTERM leaves them running.
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
	if gate, ok := os.LookupEnv(gateVariable); ok {
		if err := prepare(os.Args[1:], gate); err != nil {
			fmt.Fprintln(os.Stderr, "kubelet:", err)
			os.Exit(1)
		}
	}
	os.Exit(cli.Run(command))
}

// prepare does what kubelet would do slowly or could not do, and waits.
func prepare(args []string, gate string) error {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return err
	}
	if err := makeServingCertificate(args); err != nil {
		return fmt.Errorf("make serving certificate: %w", err)
	}
	if err := announceShutdown(); err != nil {
		return err
	}
	return waitAtGate(gate)
}
