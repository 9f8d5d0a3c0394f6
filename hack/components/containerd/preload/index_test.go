package preload

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

const named = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,` +
	`"annotations":{"io.containerd.image.name":"example.org/a:1"}}]}`

func layout(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		if err := tw.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadIndex(t *testing.T) {
	for name, c := range map[string]struct {
		archive []byte
		want    string // part of the error; empty: none
	}{
		"first":       {layout(t, "index.json", named, "oci-layout", "{}"), ""},
		"last":        {layout(t, "oci-layout", "{}", "index.json", named), ""},
		"not a tar":   {[]byte(strings.Repeat("x", 1024)), "read archive"},
		"empty":       {nil, "not an OCI layout"},
		"no index":    {layout(t, "manifest.json", "[]"), "not an OCI layout"},
		"not JSON":    {layout(t, "index.json", "{"), "parse index.json"},
		"no image":    {layout(t, "index.json", "{}"), "no image"},
		"no name":     {layout(t, "index.json", strings.Replace(named, "io.containerd", "x", 1)), "want annotation"},
		"cut off":     {layout(t, "index.json", named)[:600], "parse index.json"},
		"wrong types": {layout(t, "index.json", `{"manifests":1}`), "parse index.json"},
	} {
		index, err := readIndex(bytes.NewReader(c.archive))
		switch {
		case c.want == "" && (err != nil || len(index.Manifests) != 1):
			t.Errorf("%s: %+v, %v", name, index, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReadIndex(f *testing.F) {
	f.Add(layout(f, "index.json", named))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, archive []byte) {
		index, err := readIndex(bytes.NewReader(archive))
		if err == nil && len(index.Manifests) == 0 {
			t.Error("an index without images was accepted")
		}
	})
}
