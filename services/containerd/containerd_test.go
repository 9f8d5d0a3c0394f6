package containerd

import (
	"encoding/json"
	"strings"
	"testing"

	"holdfast/init/spec"
)

func TestSpecIsHonoured(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Parse("containerd", data)
	if err != nil {
		t.Fatal(err)
	}
	if s.Stop != spec.StopMain || s.Type != spec.Notify || !s.Critical {
		t.Errorf("stop %s, type %s, critical %v", s.Stop, s.Type, s.Critical)
	}
}

func TestConfig(t *testing.T) {
	const image = "holdfast.local/pause:1"
	got := Config(image)
	if strings.Contains(got, "@") || !strings.Contains(got, `sandbox = "`+image+`"`) {
		t.Errorf("the pause image is not filled in:\n%s", got)
	}
	for _, path := range []string{ImagesDir, Socket} {
		if !strings.Contains(got, `"`+path+`"`) {
			t.Errorf("the configuration does not name %s", path)
		}
	}
}

// TestDefaultCNI: whatever changes the packet filter must do it with nft, the only tool on the node.
func TestDefaultCNI(t *testing.T) {
	var list struct {
		Name    string
		Plugins []struct {
			Type, Backend, IPMasqBackend string
			IPMasq                       bool
		}
	}
	if err := json.Unmarshal([]byte(DefaultCNI()), &list); err != nil {
		t.Fatal(err)
	}
	if list.Name == "" || len(list.Plugins) == 0 {
		t.Fatalf("no network: %+v", list)
	}
	for _, p := range list.Plugins {
		if p.Type == "portmap" && p.Backend != "nftables" || p.IPMasq && p.IPMasqBackend != "nftables" {
			t.Errorf("%s does not use nftables: %+v", p.Type, p)
		}
		if p.Type == "firewall" {
			t.Error("firewall needs iptables or firewalld")
		}
	}
}
