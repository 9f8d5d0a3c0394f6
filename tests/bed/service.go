package bed

import (
	"maps"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/tests/bed/wire"
)

// Program is where a bed's root has the actor.
const Program = "/usr/bin/actor"

// driverName is the service that is always there.
const driverName = "driver"

// Set are supervision annotations without their common prefix.
type Set map[string]string

// Service is an actor as a service.
func Service(set Set, args ...string) *specs.Spec {
	s := &specs.Spec{
		Version:     specs.Version,
		Process:     &specs.Process{Args: append([]string{Program}, args...), Cwd: "/", Env: []string{"GOMAXPROCS=1"}},
		Annotations: map[string]string{},
	}
	for key, value := range set {
		s.Annotations["holdfast."+key] = value
	}
	return s
}

// Limited is a service with limits on its memory in bytes and its number of
// processes; 0 is none.
func Limited(s *specs.Spec, memory, pids int64) *specs.Spec {
	s.Linux = &specs.Linux{Resources: &specs.LinuxResources{}}
	if memory > 0 {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	}
	if pids > 0 {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return s
}

// complete adds the driver, and tells each actor its name.
func complete(services map[string]*specs.Spec) map[string]*specs.Spec {
	all := maps.Clone(services)
	if all == nil {
		all = map[string]*specs.Spec{}
	}
	all[driverName] = Service(Set{"type": "notify", "restart-limit": "1000/1m"}, "drive")
	for name, s := range all {
		s.Process.Env = append(s.Process.Env, wire.NameVariable+"="+name)
	}
	return all
}
