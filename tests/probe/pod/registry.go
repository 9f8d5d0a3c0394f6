package pod

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// serve serves the probe's image on 127.0.0.1 until stop is called.
func serve(ctx context.Context, dir string) (addr string, stop func(), err error) {
	archive, err := image(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	files, err := readArchive(archive)
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // it ends by stop
	addr = listener.Addr().String()
	if err := push("http://"+addr, files); err != nil {
		server.Close()
		return "", nil, err
	}
	return addr, func() { server.Close() }, nil
}

// readArchive returns the files of an OCI image layout in a tar file.
func readArchive(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
}

// push uploads the blobs and then the manifest that the layout's index names.
func push(url string, files map[string][]byte) error {
	var index struct {
		Manifests []struct{ MediaType, Digest string }
	}
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		return fmt.Errorf("read index.json: %w", err)
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("read index.json: %d manifests, expected one", len(index.Manifests))
	}
	repository, tag, _ := strings.Cut(imageName, ":")
	_, repository, _ = strings.Cut(repository, "/")
	base := url + "/v2/" + repository
	for name, content := range files {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			if err := send(http.MethodPost, base+"/blobs/uploads/?digest=sha256:"+hex, "application/octet-stream", content); err != nil {
				return err
			}
		}
	}
	m := index.Manifests[0]
	return send(http.MethodPut, base+"/manifests/"+tag, m.MediaType, files["blobs/"+strings.Replace(m.Digest, ":", "/", 1)])
}

func send(method, url, mediaType string, content []byte) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body) // the status is the error; the text only explains it
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return nil
}
