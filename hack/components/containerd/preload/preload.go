// Package preload is a containerd plugin that imports the root file system's image archives before CRI looks for images.
//
// The archives are OCI layouts in tar files. CRI lists the image store when it
// starts to serve; the plugin has the type of CRI's own parts, which containerd
// initialises before CRI itself, so that kubelet finds the images in CRI's
// first answer, without a registry.
//
// Every preloaded image is pinned: nobody could pull it again after kubelet's
// image garbage collection.
package preload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// namespace is containerd's namespace for everything that CRI owns.
const namespace = "k8s.io"

// deadline bounds the whole preload: a node with a sick disk must still come up.
const deadline = time.Minute

// Config is the plugin's table in containerd's configuration.
type Config struct {
	Dir         string `toml:"dir"`         // holds *.tar
	Snapshotter string `toml:"snapshotter"` // images are unpacked into it
}

// Register adds the plugin to containerd's registry; call it before containerd starts.
func Register() {
	registry.Register(&plugin.Registration{
		Type: plugins.CRIServicePlugin,
		ID:   "preload",
		Requires: []plugin.Type{
			plugins.EventPlugin,
			plugins.LeasePlugin,
			plugins.MetadataPlugin,
			plugins.MountManagerPlugin,
			plugins.SandboxStorePlugin,
			plugins.ServicePlugin,
			plugins.TransferPlugin,
		},
		Config: &Config{Dir: "/usr/share/holdfast/images", Snapshotter: "overlayfs"},
		InitFn: start,
	})
}

// start imports every archive. A broken one is logged and passed over:
// containerd must run in any case.
func start(ic *plugin.InitContext) (any, error) {
	config := ic.Config.(*Config)
	client, err := containerd.New("",
		containerd.WithDefaultNamespace(namespace),
		containerd.WithDefaultPlatform(platforms.Default()),
		containerd.WithInMemoryServices(ic))
	if err != nil {
		return nil, fmt.Errorf("open client: %w", err)
	}
	store, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, fmt.Errorf("find metadata: %w", err)
	}
	archives, err := filepath.Glob(filepath.Join(config.Dir, "*.tar"))
	if err != nil {
		return nil, fmt.Errorf("list archives: %w", err)
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ic.Context, namespace), deadline)
	defer cancel()
	for _, path := range archives {
		// One transaction: all of an image or nothing, and one flush of the
		// disk where an import has 25.
		err := store.(*metadata.DB).Update(func(tx *bolt.Tx) error {
			return load(boltutil.WithTransaction(ctx, tx), client, config.Snapshotter, path)
		})
		if err != nil {
			log.G(ctx).WithError(err).WithField("archive", path).Error("preload image")
		}
	}
	return client, nil
}

// load imports and unpacks one archive unless all its images are there.
func load(ctx context.Context, client *containerd.Client, snapshotter, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()

	index, err := readIndex(file)
	if err != nil {
		return err
	}
	switch done, err := present(ctx, client, snapshotter, index); {
	case err != nil:
		return err
	case done:
		return nil
	}
	if _, err := file.Seek(0, 0); err != nil {
		return err
	}
	imported, err := client.Import(ctx, file, containerd.WithImageLabels(map[string]string{
		"io.cri-containerd.image":  "managed",
		"io.cri-containerd.pinned": "pinned",
	}))
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	for _, image := range imported {
		if err := containerd.NewImage(client, image).Unpack(ctx, snapshotter); err != nil {
			return fmt.Errorf("unpack %s: %w", image.Name, err)
		}
		log.G(ctx).WithField("image", image.Name).Info("preloaded image")
	}
	return nil
}

// present says whether every image of the index is in the store under its
// name and digest, complete and unpacked.
func present(ctx context.Context, client *containerd.Client, snapshotter string, index ocispec.Index) (bool, error) {
	for _, manifest := range index.Manifests {
		image, err := client.GetImage(ctx, manifest.Annotations[images.AnnotationImageName])
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("get image: %w", err)
		}
		if image.Target().Digest != manifest.Digest {
			return false, nil
		}
		complete, _, _, _, err := images.Check(ctx, client.ContentStore(), image.Target(), platforms.Default())
		if err != nil || !complete {
			return false, nil // import again: that repairs what is missing
		}
		unpacked, err := image.IsUnpacked(ctx, snapshotter)
		if err != nil || !unpacked {
			return false, nil
		}
	}
	return true, nil
}
