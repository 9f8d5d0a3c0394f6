package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"holdfast/services/kubelet"
	"holdfast/services/nodeconfig"

	"go.yaml.in/yaml/v3"
)

// Dir is where the files go on a node.
const Dir = "/run/holdfast"

// Defaults are the machine's own contributions to its configuration.
type Defaults struct {
	Hostname    string
	Demo        []byte // the built-in pod's manifest
	CPUs        int
	MemoryBytes int64 // 0: not known
}

// Render turns a configuration into files. It fills in the host name, and what
// the machine cannot give is a fault and taken back in c.
func Render(c *nodeconfig.Config, d Defaults) ([]File, []nodeconfig.Fault) {
	if c.Hostname == "" {
		c.Hostname = d.Hostname
	}
	faults := fit(&c.Kubelet, d)
	files := []File{
		{"hostname", 0o644, []byte(c.Hostname + "\n")},
		{"hosts", 0o644, hosts(c.Hostname)},
		{"netd/network.json", 0o644, asJSON(c.Network)},
		{"timed/time.json", 0o644, asJSON(c.Time)},
		{"kubelet.yaml", 0o644, marshal(kubeletConfiguration(c))},
		{"kubelet-flags", 0o644, kubeletFlags(c)},
	}
	if c.API.ClientBundle != "" {
		files = append(files, File{"api-clients.pem", 0o644, []byte(c.API.ClientBundle)})
	}
	if c.Cluster != nil {
		files = append(files, joinFiles(c)...)
	}
	for _, p := range c.StaticPods {
		files = append(files, File{path.Join("manifests", p.Namespace+"."+p.Name+".yaml"), 0o600, p.Manifest})
	}
	switch {
	case c.Demo && d.Demo == nil:
		faults = append(faults, nodeconfig.Fault{Source: "node", Path: "demo", Text: "this image has no built-in pod"})
	case c.Demo:
		files = append(files, File{"manifests/demo.yaml", 0o600, d.Demo})
	}
	for _, m := range c.Mirrors {
		files = append(files, mirrorFiles(m)...)
	}
	return files, faults
}

func kubeletFlags(c *nodeconfig.Config) []byte {
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(c.Kubelet.NodeLabels)) {
		labels = append(labels, k+"="+c.Kubelet.NodeLabels[k])
	}
	flags := kubelet.Flags(c.Hostname, c.Cluster != nil, strings.Join(labels, ","))
	return []byte(strings.Join(flags, "\n") + "\n")
}

func hosts(hostname string) []byte {
	return []byte("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + hostname + "\n")
}

// asJSON writes what another daemon reads.
func asJSON(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // the types hold nothing that JSON cannot
	}
	return append(b, '\n')
}

// marshal writes a tree of maps, lists and scalars.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		panic(err) // likewise
	}
	return b.Bytes()
}

// joinFiles are what kubelet needs for its TLS bootstrap.
func joinFiles(c *nodeconfig.Config) []File {
	entry := func(key string, v any) []any { return []any{map[string]any{"name": "bootstrap", key: v}} }
	kubeconfig := map[string]any{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "bootstrap",
		"clusters":        entry("cluster", map[string]any{"server": c.Cluster.Server, "certificate-authority": path.Join(Dir, "ca.crt")}),
		"users":           entry("user", map[string]any{"token": c.Cluster.BootstrapToken}),
		"contexts":        entry("context", map[string]any{"cluster": "bootstrap", "user": "bootstrap"}),
	}
	return []File{
		{"bootstrap-kubeconfig", 0o600, marshal(kubeconfig)},
		{"ca.crt", 0o644, []byte(c.Cluster.CACertificate)},
	}
}

// mirrorFiles follow containerd's docs/hosts.md: hosts are tried in the order
// of the file, then the registry itself. The parser lets nothing into the
// values that TOML would have to escape.
func mirrorFiles(m nodeconfig.Mirror) []File {
	dir := path.Join("certs.d", m.Registry)
	var b strings.Builder
	var files []File
	for _, e := range m.Endpoints {
		e = strings.TrimRight(e, "/")
		fmt.Fprintf(&b, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", e)
		if u, err := url.Parse(e); err == nil && u.Path != "" {
			b.WriteString("  override_path = true\n") // the path is the API's root
		}
		if m.CACertificate != "" {
			fmt.Fprintf(&b, "  ca = %q\n", path.Join(Dir, dir, "ca.crt"))
		}
	}
	if m.CACertificate != "" {
		files = append(files, File{path.Join(dir, "ca.crt"), 0o644, []byte(m.CACertificate)})
	}
	return append(files, File{path.Join(dir, "hosts.toml"), 0o644, []byte(b.String())})
}
