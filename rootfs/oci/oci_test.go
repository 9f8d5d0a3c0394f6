package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const ref = "holdfast.local/demo:0.1.0"

func sample(t *testing.T) *Image {
	t.Helper()
	image, err := New(ref, "65534:65534", []string{"/usr/bin/demo"},
		File{"usr/bin/demo", 0o755, bytes.Repeat([]byte("program "), 1000)},
		File{"etc/passwd", 0o644, []byte("nobody:x:65534:65534::/:/none\n")})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// checkBlobs holds every blob's name against its content.
func checkBlobs(t *testing.T, dir string) {
	t.Helper()
	blobs, err := os.ReadDir(dir)
	if err != nil || len(blobs) != 3 {
		t.Fatalf("%d blobs, %v, want manifest, configuration and layer", len(blobs), err)
	}
	for _, b := range blobs {
		content, err := os.ReadFile(filepath.Join(dir, b.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != b.Name() {
			t.Errorf("blob %s has another digest: %x", b.Name(), sum)
		}
	}
}

// The oracle is go-containerregistry's own reader, which checks every digest and size.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	if err := sample(t).Write(filepath.Join(dir, "image.tar")); err != nil {
		t.Fatal(err)
	}
	first := unpack(t, filepath.Join(dir, "image.tar"), dir)
	if first != "index.json" {
		t.Errorf("the archive starts with %s, want index.json", first)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Fast: the validator inflates layers, and ours are not compressed.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	checkBlobs(t, filepath.Join(dir, "blobs/sha256"))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[0].Annotations[containerdName]; got != ref {
		t.Errorf("name %q, want %q", got, ref)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65534:65534" || config.Config.Entrypoint[0] != "/usr/bin/demo" {
		t.Errorf("configuration %+v", config.Config)
	}
}

func TestDeterministic(t *testing.T) {
	var outputs [2]bytes.Buffer
	for i := range outputs {
		if err := sample(t).write(&outputs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(outputs[0].Bytes(), outputs[1].Bytes()) {
		t.Error("the same image twice gives different archives")
	}
}

func TestRefused(t *testing.T) {
	for name, try := range map[string]struct {
		ref   string
		files []File
	}{
		"no tag":        {"holdfast.local/demo", nil},
		"absolute path": {ref, []File{{Path: "/demo"}}},
		"climbing path": {ref, []File{{Path: "../demo"}}},
		"path twice":    {ref, []File{{Path: "demo"}, {Path: "demo"}}},
		"file as dir":   {ref, []File{{Path: "a/b"}, {Path: "a"}, {Path: "a/b/c"}}},
	} {
		if _, err := New(try.ref, "", nil, try.files...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// unpack extracts a flat archive and returns its first name.
func unpack(t *testing.T, archive, dir string) (first string) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for tr := tar.NewReader(file); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return first
		}
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = header.Name
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
