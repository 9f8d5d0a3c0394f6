// Package services lists what a node runs: every supervised service and its specification.
package services

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/spec"
	"holdfast/services/apid"
	"holdfast/services/config"
	"holdfast/services/containerd"
	"holdfast/services/kubelet"
	"holdfast/services/netd"
	"holdfast/services/timed"
)

// all maps a service's name to its specification.
var all = map[string]func() *specs.Spec{
	"apid":       apid.Spec,
	"config":     config.Spec,
	"containerd": containerd.Spec,
	"kubelet":    kubelet.Spec,
	"masquerade": containerd.Masquerade,
	"netd":       netd.Spec,
	"timed":      timed.Spec,
}

// Specs renders every specification as the file that PID 1 reads, by file
// name. What PID 1 would refuse is refused here.
func Specs() (map[string][]byte, error) {
	files := map[string][]byte{}
	var parsed []*spec.Service
	for name, of := range all {
		data, err := json.MarshalIndent(of(), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		s, err := spec.Parse(name, data)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, s)
		files[name+".json"] = append(data, '\n')
	}
	if _, err := spec.Order(parsed); err != nil {
		return nil, err
	}
	return files, nil
}
