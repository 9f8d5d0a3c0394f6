package pod

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"holdfast/services/nodeconfig"
	"holdfast/tests/probe"
	"holdfast/tests/qemu"
)

// TestImageCanBePulled reads the image back as containerd does.
func TestImageCanBePulled(t *testing.T) {
	var cfg qemu.Config
	Install(t, &cfg, "")
	if len(cfg.Forwards) != 1 || cfg.Forwards[0].Guest != probe.Port || len(cfg.GuestForwards) != 1 || cfg.FWCfg[configKey] == "" {
		t.Fatalf("%+v", cfg)
	}
	base := "http://" + cfg.GuestForwards[0].Host + "/v2/probe"
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(get(t, base+"/manifests/1"), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 1 {
		t.Fatalf("%d layers", len(manifest.Layers))
	}
	for _, digest := range []string{manifest.Config.Digest, manifest.Layers[0].Digest} {
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(get(t, base+"/blobs/"+digest))); sum != digest {
			t.Errorf("blob %s has digest %s", digest, sum)
		}
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s: %v", url, resp.Status, err)
	}
	return body
}

func TestNodeConfigIsValid(t *testing.T) {
	config, faults := nodeconfig.Parse([]byte(NodeConfig("hostname: probed\n")), "test")
	if len(faults) != 0 || config.Hostname != "probed" || len(config.StaticPods) != 1 {
		t.Errorf("%+v, faults %v", config, faults)
	}
}
