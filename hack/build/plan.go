package main

import (
	"fmt"
	"os"
	"path/filepath"

	"holdfast/init/floor"
	"holdfast/rootfs/tree"
	"holdfast/services"
	"holdfast/services/containerd"
	"holdfast/services/demo"
)

// plan lists every file of the root.
func (b *builder) plan() (*tree.Tree, error) {
	t := tree.New()
	if err := t.Add(tree.Base(b.version)...); err != nil {
		return nil, err
	}
	for _, add := range []func(*tree.Tree) error{b.addPrograms, b.addDebian, b.addServices, b.addImages} {
		if err := add(t); err != nil {
			return nil, err
		}
	}
	return t, t.AddLibraries(b.packages.Root)
}

// addPrograms plans the project's programs and the components.
func (b *builder) addPrograms(t *tree.Tree) error {
	program := func(path, source string) tree.File { return tree.File{Path: path, Source: source, Mode: 0o755} }
	files := []tree.File{
		program("/usr/sbin/init", b.own["init"]),
		program("/usr/bin/holdfastd", b.own["holdfastd"]),
		program("/usr/bin/kubelet", filepath.Join(b.components["kubelet"], "kubelet")),
		program("/usr/bin/containerd", filepath.Join(b.components["containerd"], "containerd")),
		program("/usr/bin/containerd-shim-runc-v2", filepath.Join(b.components["containerd"], "containerd-shim-runc-v2")),
		program("/usr/bin/runc", filepath.Join(b.components["runc"], "runc")),
	}
	plugins, err := os.ReadDir(b.components["cni"])
	if err != nil {
		return err
	}
	for _, p := range plugins {
		files = append(files, program("/opt/cni/bin/"+p.Name(), filepath.Join(b.components["cni"], p.Name())))
	}
	return t.Add(files...)
}

func (b *builder) addDebian(t *tree.Tree) error {
	for _, p := range tree.Programs {
		source, err := filepath.EvalSymlinks(filepath.Join(b.packages.Root, p.Path))
		if err != nil {
			return fmt.Errorf("%s of package %s: %w", p.Path, p.Package, err)
		}
		st, err := os.Stat(source)
		if err != nil {
			return err
		}
		if err := t.Add(tree.File{Path: p.Path, Source: source, Mode: st.Mode().Perm()}); err != nil {
			return err
		}
	}
	certs, err := tree.Certificates(filepath.Join(b.packages.Root, tree.CertificateDir))
	if err != nil {
		return err
	}
	return t.Add(tree.File{Path: "/etc/ssl/certs/ca-certificates.crt", Data: certs, Mode: 0o644})
}

func (b *builder) addServices(t *tree.Tree) error {
	specs, err := services.Specs()
	if err != nil {
		return err
	}
	for name, data := range specs {
		if err := t.Add(tree.File{Path: "/usr/lib/holdfast/services/" + name, Data: data, Mode: 0o644}); err != nil {
			return err
		}
	}
	return t.Add(
		tree.File{Path: floor.BuildFile, Data: floor.FormatBuild(b.built), Mode: 0o644},
		tree.File{Path: containerd.ConfigFile, Data: []byte(containerd.Config(demo.PauseImage(b.version))), Mode: 0o644},
		tree.File{Path: containerd.CNIFile, Data: []byte(containerd.DefaultCNI()), Mode: 0o644},
		tree.File{Path: containerd.MasqueradeFile, Data: []byte(containerd.MasqueradeRules()), Mode: 0o644},
		tree.File{Path: "/usr/share/holdfast/manifests/demo.yaml", Data: []byte(demo.Manifest(b.version)), Mode: 0o644},
	)
}

func (b *builder) addImages(t *tree.Tree) error {
	pause, err := os.ReadFile(b.own["pause"])
	if err != nil {
		return err
	}
	server, err := os.ReadFile(b.own["server"])
	if err != nil {
		return err
	}
	images, err := demo.Images(b.version, pause, server)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.out, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, img := range images {
		path := filepath.Join(dir, name)
		if err := img.Write(path); err != nil {
			return err
		}
		if err := t.Add(tree.File{Path: filepath.Join(containerd.ImagesDir, name), Source: path, Mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}
