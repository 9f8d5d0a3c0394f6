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
	if !slices.Equal(s.After(), []string{"config", "containerd", "netd"}) || s.Stop != spec.StopMain {
		t.Errorf("after %v, stop %s", s.After(), s.Stop)
	}
}

func TestArgs(t *testing.T) {
	always := []string{"/usr/bin/kubelet", "--config=/run/holdfast/kubelet.yaml", "--root-dir=/var/lib/kubelet"}
	alone, joined := "--cert-dir=/run/kubelet/pki", "--cert-dir=/var/lib/kubelet/pki"
	for _, c := range []struct {
		name string
		node node
		more []string
	}{
		{"standalone", node{}, []string{alone}},
		{"named", node{hostname: "n1"}, []string{alone, "--hostname-override=n1"}},
		{"joins", node{joins: true}, []string{
			joined, "--bootstrap-kubeconfig=/run/holdfast/bootstrap-kubeconfig", "--kubeconfig=/var/lib/kubelet/kubeconfig"}},
		{"joins with labels", node{joins: true, labels: "a=b,c=d"}, []string{
			joined, "--bootstrap-kubeconfig=/run/holdfast/bootstrap-kubeconfig", "--kubeconfig=/var/lib/kubelet/kubeconfig", "--node-labels=a=b,c=d"}},
		{"labels without a cluster", node{labels: "a=b"}, []string{alone}},
	} {
		if got, want := args(c.node), slices.Concat(always, c.more); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, want)
		}
	}
}
