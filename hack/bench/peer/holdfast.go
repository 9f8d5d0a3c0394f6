package peer

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/hack/bench/sample"
	"holdfast/tests/bed"
	"holdfast/tests/qemu"
)

// holdfast makes a machine with Holdfast's PID 1, from a verified root.
func holdfast(ctx context.Context, s scenario, p programs, dir string) (qemu.Config, error) {
	return bed.Machine(ctx, holdfastServices(s), p.files(), dir)
}

// holdfastServices are the specifications of the machine's services.
func holdfastServices(s scenario) map[string]*specs.Spec {
	all := map[string]*specs.Spec{
		"driver":     service(s.driverArgs("holdfast"), set{"restart": "never"}),
		sample.Group: service([]string{trivialPath, "e"}, set{"type": "oneshot", "restart": "never"}),
	}
	for _, name := range s.serviceNames() {
		all[name] = service(trivialArgs(false), set{"requires": sample.Group, "backoff": "0s", "restart-limit": "1000/1s"})
	}
	if s.rounds > 0 {
		all[sample.Flap] = service(trivialArgs(true), set{"backoff": "0s", "restart-limit": "1000/1s"})
	}
	return all
}

// set are supervision annotations without their common prefix.
type set map[string]string

func service(args []string, annotations set) *specs.Spec {
	s := &specs.Spec{
		Version: specs.Version, Process: &specs.Process{Args: args, Cwd: "/"}, Annotations: map[string]string{},
	}
	for key, value := range annotations {
		s.Annotations["holdfast."+key] = value
	}
	return s
}
