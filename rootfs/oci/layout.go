package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// containerd and the image specification each have an annotation for a name;
// containerd reads its own first, which holds the name in full.
const (
	containerdName = "io.containerd.image.name"
	refName        = "org.opencontainers.image.ref.name"
)

func (i *Image) write(w io.Writer) error {
	blobs, manifest, err := i.blobs()
	if err != nil {
		return err
	}
	index, err := i.index(manifest)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, f := range append([]File{
		{"index.json", 0o644, index},
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	}, blobs...) {
		if err := put(tw, tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode}, f.Data); err != nil {
			return err
		}
	}
	return tw.Close()
}

// blobs returns the layout's blob files, and the manifest's bytes once more.
func (i *Image) blobs() (files []File, manifest []byte, err error) {
	if manifest, err = i.image.RawManifest(); err != nil {
		return nil, nil, err
	}
	config, err := i.image.RawConfigFile()
	if err != nil {
		return nil, nil, err
	}
	all := [][]byte{manifest, config}
	layers, err := i.image.Layers()
	if err != nil {
		return nil, nil, err
	}
	for _, layer := range layers {
		content, err := compressed(layer)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, content)
	}
	for _, blob := range all {
		digest, _, err := v1.SHA256(bytes.NewReader(blob))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, File{"blobs/sha256/" + digest.Hex, 0o644, blob})
	}
	return files, manifest, nil
}

func compressed(layer v1.Layer) ([]byte, error) {
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// index is index.json: the manifest with its platform and name.
func (i *Image) index(manifest []byte) ([]byte, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(manifest))
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType:   types.OCIManifestSchema1,
			Size:        size,
			Digest:      digest,
			Platform:    &v1.Platform{Architecture: "amd64", OS: "linux"},
			Annotations: map[string]string{containerdName: i.Name, refName: i.Name},
		}},
	})
}
