package nodeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse reads a document; source names it in faults. What is faulty does not
// apply, all the rest does. An empty document is no document.
func Parse(data []byte, source string) (*Config, []Fault) {
	r := &reader{source: source}
	root := r.document(data)
	switch {
	case root == nil && len(r.faults) == 0:
		return Default(), nil
	case root == nil:
		return base(), r.faults
	}
	c := base()
	r.mapping("", root, r.schema(c))
	r.together(c)
	if r.dropped > 0 {
		r.faults = append(r.faults, Fault{Source: source, Text: fmt.Sprintf("%d more faults", r.dropped)})
	}
	return c, r.faults
}

// document returns the root mapping of a document of our kind. nil without a
// fault: there is none.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		r.fault("", nil, "document is longer than %d bytes; nothing of it applies", MaxSize)
		return nil
	}
	if bytes.HasPrefix(data, []byte("#cloud-config")) {
		r.fault("", nil, "document is cloud-init's cloud-config, expected a %s (apiVersion: %s); nothing of it applies", Kind, APIVersion)
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.notYAML(err)
		return nil
	}
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return nil
	}
	root := doc.Content[0]
	if !r.ours(root) {
		return nil
	}
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		r.fault("", &second, "a second document, expected one; only the first applies")
	} else if !errors.Is(err, io.EOF) {
		r.notYAML(err)
		return nil
	}
	return root
}

// notYAML turns the library's "yaml: line 3: did not find …" into a fault. The
// library's line number can be one too low.
func (r *reader) notYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	where := ": "
	if strings.HasPrefix(text, "line ") {
		where = " near "
	}
	r.fault("", nil, "is not YAML%s%s; nothing of the document applies", where, text)
}

// ours reports whether a root node is a NodeConfig of a version that we know.
func (r *reader) ours(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return r.fault("", root, "is %s, expected a mapping with apiVersion: %s and kind: %s; nothing of the document applies", describe(root), APIVersion, Kind)
	}
	for _, want := range []struct{ key, value string }{{"apiVersion", APIVersion}, {"kind", Kind}} {
		n := child(root, want.key)
		if n == nil {
			return r.fault(want.key, root, "is missing, expected %s; nothing of the document applies", want.value)
		}
		if n.Kind != yaml.ScalarNode || n.Value != want.value {
			return r.fault(want.key, n, "is %s, expected %s; nothing of the document applies", describe(n), want.value)
		}
	}
	return true
}

// child is the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (r *reader) schema(c *Config) map[string]visit {
	return map[string]visit{
		"apiVersion": r.checked(APIVersion),
		"kind":       r.checked(Kind),
		"api":        r.api(&c.API),
		"hostname":   r.text(&c.Hostname, hostname),
		"network":    r.network(&c.Network),
		"time":       r.time(&c.Time),
		"kubelet":    r.kubelet(&c.Kubelet),
		"cluster":    r.cluster(&c.Cluster),
		"staticPods": r.pods(&c.StaticPods),
		"registries": r.registries(&c.Mirrors),
		"demo":       r.boolean(&c.Demo),
	}
}
