package demo

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestManifest: the pod may do nothing that it need not, and runs an image that the node has.
func TestManifest(t *testing.T) {
	var pod struct {
		Kind string
		Spec struct {
			HostNetwork     bool `yaml:"hostNetwork"`
			SecurityContext struct {
				RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
				SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
			} `yaml:"securityContext"`
			Containers []struct {
				Image           string
				ImagePullPolicy string `yaml:"imagePullPolicy"`
				SecurityContext struct {
					AllowPrivilegeEscalation *bool                   `yaml:"allowPrivilegeEscalation"`
					ReadOnlyRootFilesystem   bool                    `yaml:"readOnlyRootFilesystem"`
					Capabilities             struct{ Drop []string } `yaml:"capabilities"`
				} `yaml:"securityContext"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(Manifest("0.1.0")), &pod); err != nil {
		t.Fatal(err)
	}
	s := pod.Spec
	if pod.Kind != "Pod" || s.HostNetwork || !s.SecurityContext.RunAsNonRoot || s.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("pod: %+v", s)
	}
	if len(s.Containers) != 1 {
		t.Fatalf("%d containers, want 1", len(s.Containers))
	}
	c := s.Containers[0]
	if c.Image != "holdfast.local/demo:0.1.0" || c.ImagePullPolicy != "Never" {
		t.Errorf("image %s, pull %s", c.Image, c.ImagePullPolicy)
	}
	sc := c.SecurityContext
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || !sc.ReadOnlyRootFilesystem ||
		strings.Join(sc.Capabilities.Drop, " ") != "ALL" {
		t.Errorf("container: %+v", sc)
	}
}

func TestImages(t *testing.T) {
	images, err := Images("0.1.0", []byte("pause"), []byte("demo"))
	if err != nil {
		t.Fatal(err)
	}
	for file, name := range map[string]string{"pause.tar": PauseImage("0.1.0"), "demo.tar": ServerImage("0.1.0")} {
		if images[file] == nil || images[file].Name != name {
			t.Errorf("%s: %+v, want %s", file, images[file], name)
		}
	}
}
