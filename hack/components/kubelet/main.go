// Command kubelet is upstream's node agent, fitted to a supervisor that is not systemd.
//
// PID 1 starts it while the state volume is made and containerd starts, and
// holds it until that is ready (annotation holdfast.early): under emulation
// kubelet takes two seconds from its exec to its first line, which then cost
// the boot nothing. Only after that an argument @file is replaced by the lines
// of the file.
//
// SIGUSR1 says that the machine goes down: kubelet ends its pods by their
// priority and grace periods first. SIGTERM leaves them running.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	command := app.NewKubeletCommand(context.Background())
	if gate, ok := os.LookupEnv(gateVariable); ok {
		args, err := prepare(os.Args[1:], gate)
		if err != nil {
			fmt.Fprintln(os.Stderr, "kubelet:", err)
			os.Exit(1)
		}
		command.SetArgs(args)
		os.Args = append(os.Args[:1], args...)
	}
	os.Exit(cli.Run(command))
}

// prepare waits at the gate, does what kubelet would do slowly or could not
// do, and returns its arguments.
func prepare(args []string, gate string) ([]string, error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, err
	}
	if err := announceShutdown(); err != nil {
		return nil, err
	}
	go warm()
	if err := waitAtGate(gate); err != nil {
		return nil, err
	}
	args, err := expand(args)
	if err != nil {
		return nil, err
	}
	if err := makeServingCertificate(args); err != nil {
		return nil, fmt.Errorf("make serving certificate: %w", err)
	}
	return args, nil
}

// expand replaces each @file by its lines.
func expand(args []string) (out []string, err error) {
	for _, a := range args {
		file, ok := strings.CutPrefix(a, "@")
		if !ok {
			out = append(out, a)
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read arguments: %w", err)
		}
		out = append(out, strings.Split(strings.TrimSpace(string(content)), "\n")...)
	}
	return out, nil
}
