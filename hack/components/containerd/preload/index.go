package preload

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxIndexBytes bounds index.json: one image needs about 400 bytes.
const maxIndexBytes = 1 << 20

// readIndex returns the index of an OCI layout in a tar file. Blobs are
// skipped by seeking, and our own archives have the index in front.
func readIndex(r io.Reader) (ocispec.Index, error) {
	var index ocispec.Index
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return index, fmt.Errorf("read archive: no %s: not an OCI layout", ocispec.ImageIndexFile)
		}
		if err != nil {
			return index, fmt.Errorf("read archive: %w", err)
		}
		if header.Name != ocispec.ImageIndexFile {
			continue
		}
		if err := json.NewDecoder(io.LimitReader(archive, maxIndexBytes)).Decode(&index); err != nil {
			return index, fmt.Errorf("parse %s: %w", header.Name, err)
		}
		return index, checkNames(index)
	}
}

// checkNames requires what present needs: at least one image, each with its full name.
func checkNames(index ocispec.Index) error {
	if len(index.Manifests) == 0 {
		return fmt.Errorf("parse %s: no image", ocispec.ImageIndexFile)
	}
	for i, manifest := range index.Manifests {
		if manifest.Annotations[images.AnnotationImageName] == "" {
			return fmt.Errorf("parse %s: manifest %d: want annotation %s", ocispec.ImageIndexFile, i, images.AnnotationImageName)
		}
	}
	return nil
}
