package kubelet

import (
	"encoding/json"
	"slices"
	"testing"

	"holdfast/init/spec"
)

func TestSpecIsHonoured(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Parse("kubelet", data)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Requires, []string{"config", "containerd", "netd"}) || s.Stop != spec.StopMain {
		t.Errorf("requires %v, stop %s", s.Requires, s.Stop)
	}
}

func TestArgs(t *testing.T) {
	always := []string{"/usr/bin/kubelet", "--config=/run/holdfast/kubelet.yaml",
		"--root-dir=/var/lib/kubelet", "--cert-dir=/var/lib/kubelet/pki"}
	for _, c := range []struct {
		name string
		node node
		more []string
	}{
		{"standalone", node{}, nil},
		{"named", node{hostname: "n1"}, []string{"--hostname-override=n1"}},
		{"joins", node{joins: true}, []string{
			"--bootstrap-kubeconfig=/run/holdfast/bootstrap-kubeconfig", "--kubeconfig=/var/lib/kubelet/kubeconfig"}},
		{"joins with labels", node{joins: true, labels: "a=b,c=d"}, []string{
			"--bootstrap-kubeconfig=/run/holdfast/bootstrap-kubeconfig", "--kubeconfig=/var/lib/kubelet/kubeconfig", "--node-labels=a=b,c=d"}},
		{"labels without a cluster", node{labels: "a=b"}, nil},
	} {
		if got, want := args(c.node), slices.Concat(always, c.more); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, want)
		}
	}
}
