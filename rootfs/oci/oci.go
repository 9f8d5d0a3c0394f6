// Package oci builds small container images from static programs, the same bytes every time.
//
// An image is one layer with the given files, owned by root and dated with the
// Unix epoch. It is written as an OCI image layout (image-layout.md of the OCI
// image specification) in a tar file:
//
//	index.json           first, so that a reader finds the image's name and digest without reading blobs
//	oci-layout           {"imageLayoutVersion":"1.0.0"}
//	blobs/sha256/<hex>   manifest, configuration, layer
package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch dates everything, as a release must not depend on when it was built.
var epoch = time.Unix(0, 0).UTC()

// File is a regular file of an image.
type File struct {
	Path string // without the leading slash
	Mode int64  // permission bits
	Data []byte
}

// Image is a named image.
type Image struct {
	Name  string // registry/repository:tag
	image v1.Image
}

// New makes an image that runs entrypoint as user ("uid:gid").
func New(ref, user string, entrypoint []string, files ...File) (*Image, error) {
	if _, err := name.NewTag(ref, name.StrictValidation); err != nil {
		return nil, fmt.Errorf("name image: %w", err)
	}
	content, err := archive(files)
	if err != nil {
		return nil, fmt.Errorf("build layer of %s: %w", ref, err)
	}
	// Uncompressed: the root file system compresses it, and a node that boots
	// has nothing to inflate.
	layer := static.NewLayer(content, types.OCIUncompressedLayer)
	image, err := assemble(layer, &v1.ConfigFile{
		Architecture: "amd64",
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{User: user, Entrypoint: entrypoint, WorkingDir: "/"},
	})
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", ref, err)
	}
	return &Image{Name: ref, image: image}, nil
}

func assemble(layer v1.Layer, config *v1.ConfigFile) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, config)
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "holdfast"},
	})
}

// archive is the layer: the files in order of their paths, each after its directories.
func archive(files []File) ([]byte, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	made := map[string]bool{".": true} // true: a directory
	for _, f := range files {
		if _, twice := made[f.Path]; f.Path == "" || path.Clean("/"+f.Path) != "/"+f.Path || twice {
			return nil, fmt.Errorf("path %q: want a clean relative path, once", f.Path)
		}
		if err := directories(tw, made, path.Dir(f.Path)); err != nil {
			return nil, err
		}
		made[f.Path] = false
		if err := put(tw, tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode}, f.Data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), tw.Close()
}

func directories(tw *tar.Writer, made map[string]bool, dir string) error {
	switch isDir, ok := made[dir]; {
	case isDir:
		return nil
	case ok:
		return fmt.Errorf("path %q: is a file, and a directory of another", dir)
	}
	if err := directories(tw, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	return put(tw, tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
}

func put(tw *tar.Writer, header tar.Header, data []byte) error {
	header.Size, header.ModTime, header.Format = int64(len(data)), epoch, tar.FormatUSTAR
	if err := tw.WriteHeader(&header); err != nil {
		return fmt.Errorf("write %s: %w", header.Name, err)
	}
	if _, err := tw.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", header.Name, err)
	}
	return nil
}

// Write puts the image's archive into a file at path.
func (i *Image) Write(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(i.write(file), file.Close()); err != nil {
		return fmt.Errorf("write image %s: %w", i.Name, err)
	}
	return nil
}
