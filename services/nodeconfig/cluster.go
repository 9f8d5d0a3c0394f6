package nodeconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

func (r *reader) cluster(to **Cluster) visit {
	return func(path string, n *yaml.Node) bool {
		var c Cluster
		ok := r.mapping(path, n, map[string]visit{
			"server":         r.text(&c.Server, server),
			"caCertificate":  r.text(&c.CACertificate, certificates),
			"bootstrapToken": r.secret(&c.BootstrapToken, bootstrapToken),
		})
		r.note(func(s *schema.Schema) { s.Required = []string{"server", "caCertificate", "bootstrapToken"} })
		if !ok || isNull(n) {
			return ok
		}
		if c.Server == "" || c.CACertificate == "" || c.BootstrapToken == "" {
			return r.fault(path, n, "expected a valid server, caCertificate and bootstrapToken; the node stays standalone")
		}
		*to = &c
		return true
	}
}

func (r *reader) registries(to *[]Mirror) visit {
	return func(path string, n *yaml.Node) bool {
		return r.mapping(path, n, map[string]visit{"mirrors": r.keyed(registryHost, func(registry, path string, k, v *yaml.Node) {
			m := Mirror{Registry: registry}
			if err := registryHost(registry); err != nil {
				r.fault(path, k, "is not a registry, expected %v", err)
			} else if r.mirror(&m, path, v) {
				*to = append(*to, m)
			}
		})})
	}
}

func (r *reader) mirror(to *Mirror, path string, n *yaml.Node) bool {
	ok := r.mapping(path, n, map[string]visit{
		"endpoints":     list(r, &to.Endpoints, func(s *string) visit { return r.text(s, endpoint) }),
		"caCertificate": r.text(&to.CACertificate, certificates),
	})
	r.note(func(s *schema.Schema) {
		s.Type, s.Required = schema.Types{schema.Object}, []string{"endpoints"}
		endpoints := s.Properties["endpoints"]
		endpoints.Type, endpoints.MinItems = schema.Types{schema.Array}, 1
	})
	if ok && len(to.Endpoints) == 0 {
		return r.fault(path, n, "expected at least one valid endpoint; the mirror does not apply")
	}
	return ok
}

// pods drops a pod that repeats another one's name.
func (r *reader) pods(to *[]Pod) visit {
	return list(r, to, func(p *Pod) visit {
		return func(path string, n *yaml.Node) bool {
			if !r.pod(p, path, n) {
				return false
			}
			if slices.ContainsFunc(*to, func(o Pod) bool { return o.Name == p.Name && o.Namespace == p.Namespace }) {
				return r.fault(path, n, "is pod %s/%s once more; the first one applies", p.Namespace, p.Name)
			}
			return true
		}
	})
}

// podField is what a node itself reads of a pod.
type podField struct {
	path, key string
	to        *string
	ok        func(string) error
}

func (p *Pod) fields() []podField {
	var version, kind string
	return []podField{
		{"", "apiVersion", &version, oneOf("v1")},
		{"", "kind", &kind, oneOf("Pod")},
		{"metadata", "name", &p.Name, subdomain},
		{"metadata", "namespace", &p.Namespace, label},
	}
}

func (r *reader) pod(to *Pod, path string, n *yaml.Node) bool {
	to.Namespace = "default"
	if r.at != nil {
		return r.describePod(to, path)
	}
	if n.Kind != yaml.MappingNode {
		return r.fault(path, n, "is %s, expected a Pod manifest", describe(n))
	}
	if at, what := flaw(n); at != nil {
		return r.fault(path, at, "has %s; the pod does not apply", what)
	}
	for _, f := range to.fields() {
		in, at := n, join(path, f.key)
		if f.path != "" {
			in, at = child(n, f.path), join(path, f.path+"."+f.key)
		}
		value := child(in, f.key)
		if value == nil && f.key == "namespace" {
			continue
		}
		if value == nil {
			return r.fault(at, n, "is missing; the pod does not apply")
		}
		if !r.text(f.to, f.ok)(at, value) {
			return false
		}
	}
	return r.manifest(to, path, n)
}

// manifest writes the pod's own part of the document, comments and quotes included.
func (r *reader) manifest(to *Pod, path string, n *yaml.Node) bool {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return r.fault(path, n, "cannot be written as a manifest: %v", err)
	}
	to.Manifest = b.Bytes()
	return true
}

// flaw finds what kubelet's own reader would stumble over.
func flaw(n *yaml.Node) (at *yaml.Node, what string) {
	if n.Kind == yaml.AliasNode {
		return n, "an alias, which is not supported"
	}
	seen := map[string]bool{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Kind != yaml.ScalarNode || c.ShortTag() != "!!str" {
				return c, "a key that is not a string"
			}
			if seen[c.Value] {
				return c, "the key " + quote(c.Value) + " twice"
			}
			seen[c.Value] = true
		}
		if at, what := flaw(c); at != nil {
			return at, what
		}
	}
	return nil, ""
}

func server(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || !plainURL(u, s) || u.Path != "" && u.Path != "/" {
		return expectedLike("the API server's URL, such as https://192.0.2.100:6443", `[Hh][Tt][Tt][Pp][Ss]://[^/\s"'\\<>{}|^\x60%?]+/?#?`)
	}
	return nil
}

func endpoint(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" && u.Scheme != "http" || !plainURL(u, s) {
		return expectedLike("a URL such as https://mirror.example.org", `[Hh][Tt][Tt][Pp][Ss]?://[^\s"'\\<>{}|^\x60%?]+`)
	}
	return nil
}

// plainURL reports whether a URL is a host and a path of plain letters: it
// ends up in TOML, YAML and requests.
func plainURL(u *url.URL, s string) bool {
	for _, c := range s {
		if c <= ' ' || c > '~' || strings.ContainsRune("\"'\\<>{}|^`%", c) {
			return false
		}
	}
	return registryHost(u.Host) == nil && u.Host != defaultRegistry && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// certificates accepts PEM with nothing but certificates.
func certificates(s string) error {
	want := &expectation{"certificates in PEM form", schema.Schema{Pattern: "-----BEGIN CERTIFICATE-----"}}
	rest, n := []byte(s), 0
	for len(bytes.TrimSpace(rest)) > 0 {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" {
			return want
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return want
		}
		n++
	}
	if n == 0 {
		return want
	}
	return nil
}
