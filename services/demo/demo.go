// Package demo is what the node can run without a registry: the pause image that every pod needs, and the demo pod.
package demo

import (
	_ "embed"
	"strings"

	"holdfast/rootfs/oci"
)

// Go packages of the two programs; both are built static.
const (
	PausePackage  = "holdfast/services/demo/pause"
	ServerPackage = "holdfast/services/demo/server"
)

// unprivileged is the user that images run as: Debian's nobody.
const unprivileged = "65534:65534"

//go:embed demo.yaml
var manifest string

// PauseImage returns the name of a release's pause image.
func PauseImage(version string) string { return "holdfast.local/pause:" + version }

// ServerImage returns the name of a release's demo image.
func ServerImage(version string) string { return "holdfast.local/demo:" + version }

// Manifest returns the static pod of a release.
func Manifest(version string) string {
	return strings.ReplaceAll(manifest, "@IMAGE@", ServerImage(version))
}

// Images makes both images of a release from their programs, by the name that
// each archive has on the root file system.
func Images(version string, pause, server []byte) (map[string]*oci.Image, error) {
	images := map[string]*oci.Image{}
	for _, i := range []struct {
		ref, program string
		data         []byte
	}{
		{PauseImage(version), "pause", pause},
		{ServerImage(version), "demo", server},
	} {
		image, err := oci.New(i.ref, unprivileged, []string{"/" + i.program},
			oci.File{Path: i.program, Mode: 0o755, Data: i.data})
		if err != nil {
			return nil, err
		}
		images[i.program+".tar"] = image
	}
	return images, nil
}
