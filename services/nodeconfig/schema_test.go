package nodeconfig

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/services/schema"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compiled is the schema in other people's hands.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("nodeconfig.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("nodeconfig.json") // validates against the dialect's own schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain turns the first document into what a JSON validator sees. Whole numbers
// are decimal, as the reader has it. false: it has no JSON form.
func plain(data []byte) (v any, ok bool) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 {
		return nil, false
	}
	return value1(doc.Content[0])
}

func value1(n *yaml.Node) (any, bool) {
	switch {
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, ok := value1(n.Content[i+1])
			if n.Content[i].Kind != yaml.ScalarNode || !ok {
				return nil, false
			}
			m[n.Content[i].Value] = v
		}
		return m, true
	case n.Kind == yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			v, ok := value1(c)
			if !ok {
				return nil, false
			}
			list = append(list, v)
		}
		return list, true
	case n.Kind != yaml.ScalarNode:
		return nil, false
	case n.ShortTag() == "!!int":
		i, err := strconv.Atoi(n.Value)
		return i, err == nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, false
	}
	text, err := json.Marshal(v) // a time, for instance, becomes a string
	if err != nil || json.Unmarshal(text, &v) != nil {
		return nil, false
	}
	return v, true
}

// What the node takes without a fault, the schema takes.
func TestSchemaTakesWhatTheNodeTakes(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	good := 0
	for _, file := range append(files, "example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, faults := Parse(data, file)
		v, ok := plain(data)
		if !ok {
			continue
		}
		switch err := s.Validate(v); {
		case len(faults) == 0 && err != nil:
			t.Errorf("%s: %v", file, err)
		case len(faults) > 0 && err == nil:
			t.Errorf("%s has %d faults and passes the schema", file, len(faults))
		case len(faults) == 0:
			good++
		}
	}
	if good < 2 {
		t.Errorf("%d documents without a fault", good)
	}
}

const head = "apiVersion: holdfast/v1\nkind: NodeConfig\n"

// valid are the corners of what is accepted.
var valid = []string{
	"hostname: 1a.b-c.2",
	"hostname: " + strings.Repeat("a", 63),
	"network: {interfaces: [{name: a, addresses: ['::1:0/1', 10.0.0.1/32, 'fe80::/128', 255.254.199.99/8]}]}",
	"network: {interfaces: [{name: '!', gateway: 0.0.0.1, mtu: 576}, {name: '~;-.', dhcp4: False}, {mac: 5254.0012.3456}, {mac: 52-54-00-12-34-FF}]}",
	"network: {interfaces: [{name: a, routes: [{to: 0.0.0.0/0, via: 10.0.0.1}, {to: '::/0', via: 'fe80::1'}, {to: '64:ff9b::192.0.2.0/120', via: '1::'}]}]}",
	"kubelet: {maxPods: 1, podPidsLimit: -1, imageGCLowThresholdPercent: 0, containerLogMaxSize: 007k}",
	"kubelet: {evictionHard: {memory.available: .5%, nodefs.available: 5.%, nodefs.inodesFree: 099.9%, pid.available: 10Mi}}",
	"kubelet: {nodeTaints: ['a=:NoSchedule', 'x.y/A_b:NoExecute'], nodeLabels: {1.a/B: '', x: 0_a.Z, a.node.kubernetes.io/b: ''}}",
	"kubelet: {kubeReserved: {cpu: 0.5, memory: 0.5Gi, pid: 7}, systemReserved: {cpu: 00.250, memory: 1}}",
	"cluster:",
	"registries: {mirrors: {'[::1]:5': {endpoints: ['HTTPS://a/b#', 'http://[::1]:5/@']}, 1.2.3.4:5: {endpoints: ['http://a']}, _default: {endpoints: ['https://1.2']}}}",
	"staticPods: [{apiVersion: v1, kind: Pod, metadata: {name: 1.a, namespace: a1, more: x}, status: {}}]",
}

func TestSchemaTakesCorners(t *testing.T) {
	s := compiled(t)
	for _, line := range valid {
		v, ok := plain([]byte(head + line))
		if !ok {
			t.Fatalf("%s is no YAML", line)
		}
		if _, faults := Parse([]byte(head+line), "test"); len(faults) > 0 {
			t.Errorf("%s: %v", line, faults)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// A document for each kind of fault; those that a schema can't express are
// marked with what would have to be said.
func TestSchemaFindsFaults(t *testing.T) {
	s := compiled(t)
	for _, test := range []struct{ doc, beyond string }{
		{"apiVersion: holdfast/v1 # alone", ""},
		{"apiVersion: holdfast/v2", ""},
		{"kind: Pod", ""},
		{"hostnam: node-1", ""},
		{"hostname: node_1", ""},
		{"hostname: 5", ""},
		{"hostname:", ""},
		{"hostname: [a]", ""},
		{"hostname: " + strings.Repeat("a.", 32) + "a", ""},
		{"hostname: " + strings.Repeat("a", 64), ""},
		{"demo: maybe", ""},
		{"api: {clientBundle: text}", ""},
		{"api: {clientBundle: '-----BEGIN CERTIFICATE-----'}", "a real certificate"},
		{"api: {clients: text}", ""},
		{"network: []", ""},
		{"network: {interfaces: {}}", ""},
		{"network: {interfaces: [{}]}", ""},
		{"network: {interfaces: [{name: eth0, mac: '52:54:00:12:34:56'}]}", ""},
		{"network: {interfaces: [{name: ../etc}]}", ""},
		{"network: {interfaces: [{name: lo}]}", ""},
		{"network: {interfaces: [{name: an-interface-with-a-long-name}]}", ""},
		{"network: {interfaces: [{name: 'a:b'}]}", ""},
		{"network: {interfaces: [{mac: '52:54'}]}", ""},
		{"network: {interfaces: [{name: a, dhcp: true}]}", ""},
		{"network: {interfaces: [{name: a, dhcp4: 'no'}]}", ""},
		{"network: {interfaces: [{name: a, ipv6: both}]}", ""},
		{"network: {interfaces: [{name: a, addresses: [192.0.2.1]}]}", ""},
		{"network: {interfaces: [{name: a, addresses: [192.0.2.1/33]}]}", ""},
		{"network: {interfaces: [{name: a, addresses: ['2001:db8::1/129']}]}", ""},
		{"network: {interfaces: [{name: a, addresses: [127.0.0.1/8]}]}", "not a loopback address"},
		{"network: {interfaces: [{name: a, gateway: 192.0.2.300}]}", ""},
		{"network: {interfaces: [{name: a, gateway: 224.0.0.1}]}", "not a multicast address"},
		{"network: {interfaces: [{name: a, routes: [{to: 10.0.0.0/8}]}]}", ""},
		{"network: {interfaces: [{name: a, routes: [{to: 10.0.0.1/8, via: 10.0.0.1}]}]}", "no host bits"},
		{"network: {interfaces: [{name: a, routes: [{to: 10.0.0.0/8, via: '2001:db8::1'}]}]}", "both of one version"},
		{"network: {interfaces: [{name: a, mtu: 100}]}", ""},
		{"network: {interfaces: [{name: a, mtu: '1500'}]}", ""},
		{"network: {interfaces: [{name: a}, {name: a}]}", "each name once"},
		{"network: {nameservers: 192.0.2.1}", ""},
		{"network: {nameservers: [ns.example.org]}", ""},
		{"network: {search: ['exa mple.org']}", ""},
		{"kubelet: {maxPods: 0}", ""},
		{"kubelet: {maxPods: 1001}", ""},
		{"kubelet: {maxPods: 1.5}", ""},
		{"kubelet: {podPidsLimit: 0}", ""},
		{"kubelet: {podPidsLimit: -2}", ""},
		{"kubelet: {featureGates: {}}", ""},
		{"kubelet: {nodeLabels: {'a b': c}}", ""},
		{"kubelet: {nodeLabels: {a: 'b c'}}", ""},
		{"kubelet: {nodeLabels: {a: 7}}", ""},
		{"kubelet: {nodeLabels: {node-role.kubernetes.io/master: ''}}", ""},
		{"kubelet: {nodeLabels: {k8s.io/a: ''}}", ""},
		{"kubelet: {nodeTaints: [a]}", ""},
		{"kubelet: {nodeTaints: ['a=b:Never']}", ""},
		{"kubelet: {evictionHard: {memory.avail: 5%}}", ""},
		{"kubelet: {evictionHard: {memory.available: 120%}}", ""},
		{"kubelet: {evictionHard: {memory.available: 1.5Gi}}", ""},
		{"kubelet: {systemReserved: {gpu: '1'}}", ""},
		{"kubelet: {systemReserved: {memory: lots}}", ""},
		{"kubelet: {systemReserved: {memory: '0'}}", ""},
		{"kubelet: {systemReserved: {cpu: -1}}", ""},
		{"kubelet: {systemReserved: {pid: '1.5'}}", ""},
		{"kubelet: {imageGCLowThresholdPercent: 90}", "less than the other"},
		{"kubelet: {containerLogMaxSize: 10.5Mi}", ""},
		{"kubelet: {cpuManagerPolicy: dynamic}", ""},
		{"kubelet: {cpuManagerPolicy: static}", "a cpu amount elsewhere"},
		{"kubelet: {cpuCFSQuota: 1}", ""},
		{"kubelet: {clusterDNS: [cluster]}", ""},
		{"cluster: {server: 'https://a'}", ""},
		{"cluster: {server: 'http://a', caCertificate: '-----BEGIN CERTIFICATE-----', bootstrapToken: abcdef.0123456789abcdef}", ""},
		{"cluster: {server: 'https://a', caCertificate: 'x', bootstrapToken: abcdef.0123456789abcdef}", ""},
		{"cluster: {server: 'https://a', caCertificate: '-----BEGIN CERTIFICATE-----', bootstrapToken: abcdef.0123456789abcdef}", "a real certificate"},
		{"cluster: {server: 'https://a/b', caCertificate: '-----BEGIN CERTIFICATE-----', bootstrapToken: abcdef.0123456789abcdef}", ""},
		{"cluster: {server: 'https://a', caCertificate: '-----BEGIN CERTIFICATE-----', bootstrapToken: abcdef}", ""},
		{"staticPods: [{}]", ""},
		{"staticPods: [text]", ""},
		{"staticPods: [{apiVersion: v1, kind: List, metadata: {name: a}}]", ""},
		{"staticPods: [{apiVersion: v1, kind: Pod, metadata: {}}]", ""},
		{"staticPods: [{apiVersion: v1, kind: Pod, metadata: {name: ../a}}]", ""},
		{"staticPods: [{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: b.c}}]", ""},
		{"staticPods: [{apiVersion: v1, kind: Pod, metadata: {name: a}}, {apiVersion: v1, kind: Pod, metadata: {name: a}}]", "each name once"},
		{"registries: {mirrors: {../../etc: {endpoints: ['https://a']}}}", ""},
		{"registries: {mirrors: {docker.io: {endpoints: []}}}", ""},
		{"registries: {mirrors: {docker.io: {}}}", ""},
		{"registries: {mirrors: {docker.io: {endpoints: ['ftp://a']}}}", ""},
		{"registries: {mirrors: {docker.io: {endpoints: ['https://a?b']}}}", ""},
		{"registries: {mirrors: {docker.io: [https://a]}}", ""},
	} {
		doc := test.doc
		for _, line := range []string{"apiVersion: holdfast/v1", "kind: NodeConfig"} {
			if key, _, _ := strings.Cut(line, ":"); !strings.HasPrefix(doc, key) && !strings.HasSuffix(doc, "# alone") {
				doc += "\n" + line
			}
		}
		v, ok := plain([]byte(doc))
		if !ok {
			t.Fatalf("%s is no YAML", doc)
		}
		if _, faults := Parse([]byte(doc), "test"); len(faults) == 0 {
			t.Errorf("%s: the node finds no fault", test.doc)
		}
		switch err := s.Validate(v); {
		case err == nil && test.beyond == "":
			t.Errorf("%s: the schema finds no fault", test.doc)
		case err != nil && test.beyond != "":
			t.Errorf("%s: the schema can express it: %v", test.doc, err)
		}
	}
}

// walk visits every key of the schema with its path.
func walk(path string, s *schema.Schema, visit func(path string, s *schema.Schema)) {
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		if s.PropertyNames == nil { // else they are names that check knows
			visit(join(path, key), s.Properties[key])
		}
		walk(join(path, key), s.Properties[key], visit)
	}
	if s.Items != nil {
		walk(path+"[]", s.Items, visit)
	}
	if a := s.AdditionalProperties; a != nil && a.Schema != nil {
		walk(join(path, "*"), a.Schema, visit)
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	unused := maps.Clone(about)
	delete(unused, "")
	walk("", Schema(), func(path string, s *schema.Schema) {
		if s.Description == "" {
			t.Errorf("%s: about does not say what it means", path)
		}
		if len(s.Type) == 0 {
			t.Errorf("%s: no type", path)
		}
		if scalar := !s.Type.Has(schema.Object) && !s.Type.Has(schema.Array) && !s.Type.Has(schema.Boolean); scalar && s.Expected == "" && s.Const == nil {
			t.Errorf("%s: what is expected? A check accepts %q, or its error has no words", path, refused)
		}
		delete(unused, path)
	})
	if len(unused) > 0 {
		t.Errorf("about explains what is not there: %v", slices.Sorted(maps.Keys(unused)))
	}
}

func TestExampleHasEveryKey(t *testing.T) {
	if _, faults := Parse([]byte(Example), "example"); len(faults) > 0 {
		t.Errorf("%q", faults)
	}
	v, ok := plain([]byte(Example))
	if !ok {
		t.Fatal("no YAML")
	}
	seen := map[string]bool{}
	var note func(path string, v any)
	note = func(path string, v any) {
		seen[path] = true
		switch v := v.(type) {
		case map[string]any:
			for k, c := range v {
				note(join(path, k), c)
				note(join(path, "*"), c)
			}
		case []any:
			for _, c := range v {
				note(path+"[]", c)
			}
		}
	}
	note("", v)
	walk("", Schema(), func(path string, _ *schema.Schema) {
		if !seen[path] {
			t.Errorf("it lacks %s", path)
		}
	})
}

func TestSchemaGolden(t *testing.T) {
	text, err := json.MarshalIndent(Schema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", string(text)+"\n")
	golden(t, "reference.md", Reference())
}

// FuzzSchema: what has no fault passes the schema, whatever it is.
func FuzzSchema(f *testing.F) {
	for _, line := range valid {
		f.Add([]byte(head + line))
	}
	s := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, faults := Parse(data, "fuzz")
		v, ok := plain(data)
		if len(faults) > 0 || !ok || v == nil {
			return
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v", err)
		}
	})
}
