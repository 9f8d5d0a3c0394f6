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

func TestFlags(t *testing.T) {
	always := []string{"--config=/run/holdfast/kubelet.yaml", "--root-dir=/var/lib/kubelet", "--hostname-override=n1"}
	joined := []string{"--cert-dir=/var/lib/kubelet/pki",
		"--bootstrap-kubeconfig=/run/holdfast/bootstrap-kubeconfig", "--kubeconfig=/var/lib/kubelet/kubeconfig"}
	for _, c := range []struct {
		name   string
		joins  bool
		labels string
		more   []string
	}{
		{"standalone", false, "", []string{"--cert-dir=/run/kubelet/pki"}},
		{"joins", true, "", joined},
		{"joins with labels", true, "a=b,c=d", append(slices.Clone(joined), "--node-labels=a=b,c=d")},
		{"labels without a cluster", false, "a=b", []string{"--cert-dir=/run/kubelet/pki"}},
	} {
		if got, want := Flags("n1", c.joins, c.labels), slices.Concat(always, c.more); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, want)
		}
	}
}
