package nodeconfig

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	for _, name := range []string{"full", "network", "kubelet", "pods"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/" + name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			c, faults := Parse(data, "test")
			var b strings.Builder
			for _, f := range faults {
				fmt.Fprintln(&b, f)
			}
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(c); err != nil {
				t.Fatal(err)
			}
			for _, p := range c.StaticPods {
				fmt.Fprintf(&b, "--- %s/%s\n%s", p.Namespace, p.Name, p.Manifest)
			}
			golden(t, "testdata/"+name+".golden", b.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}

// What makes a whole document not apply is one fault.
func TestNotOurs(t *testing.T) {
	for name, test := range map[string]struct{ doc, want string }{
		"syntax":       {"apiVersion: holdfast/v1\nkind: [NodeConfig\n", "test: is not YAML near line 1: did not find"},
		"control":      {"a: \x00", "test: is not YAML: control characters are not allowed"},
		"later syntax": {"apiVersion: holdfast/v1\nkind: NodeConfig\n---\n[", "is not YAML near line "},
		"kind":         {"apiVersion: holdfast/v1\nkind: Pod\n", `test line 2: kind: is the string "Pod", expected NodeConfig`},
		"version":      {"apiVersion: v1\nkind: NodeConfig\n", `test line 1: apiVersion: is the string "v1", expected holdfast/v1`},
		"no version":   {"kind: NodeConfig\n", "test line 1: apiVersion: is missing, expected holdfast/v1"},
		"text":         {"hello", `test line 1: is the string "hello", expected a mapping`},
		"list":         {"[]", "test line 1: is a list, expected a mapping"},
		"long":         {strings.Repeat("#", MaxSize+1), "test: document is longer than 1048576 bytes"},
		"cloud-config": {"#cloud-config\nusers: []\n", "test: document is cloud-init's cloud-config, expected a NodeConfig"},
	} {
		t.Run(name, func(t *testing.T) {
			c, faults := Parse([]byte(test.doc), "test")
			if len(faults) != 1 || !strings.Contains(faults[0].String(), test.want) {
				t.Errorf("faults %q, want one with %q", faults, test.want)
			}
			if !reflect.DeepEqual(c, base()) {
				t.Errorf("not the defaults: %+v", c)
			}
		})
	}
}

func TestNoDocument(t *testing.T) {
	for _, doc := range []string{"", "\n", "# nothing\n", "---\n", "---\n...\n", "null\n"} {
		if c, faults := Parse([]byte(doc), "test"); len(faults) > 0 || !c.Demo {
			t.Errorf("%q: demo %v, faults %q", doc, c.Demo, faults)
		}
	}
	c, faults := Parse([]byte("apiVersion: holdfast/v1\nkind: NodeConfig\nnetwork:\nkubelet:\ncluster:\nstaticPods:\n"), "test")
	if len(faults) > 0 || c.Demo || c.Cluster != nil {
		t.Errorf("empty sections: %+v, faults %q", c, faults)
	}
}

// A bomb costs no more than its bytes, and a flood of faults is cut off.
func TestBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: holdfast/v1\nkind: NodeConfig\na0: &a0 [x, x]\n")
	for i := range 40 {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	b.WriteString("hostname: good\n")
	c, faults := Parse([]byte(b.String()), "test")
	if len(faults) != maxFaults+1 || faults[maxFaults].Text != "9 more faults" {
		t.Errorf("%d faults, the last %q", len(faults), faults[len(faults)-1])
	}
	if c.Hostname != "good" {
		t.Errorf("hostname %q", c.Hostname)
	}
	deep := "apiVersion: holdfast/v1\nkind: NodeConfig\nhostname: " + strings.Repeat("[", 500_000)
	if _, faults := Parse([]byte(deep), "test"); len(faults) != 1 {
		t.Errorf("deep: %d faults", len(faults))
	}
}

func TestAmount(t *testing.T) {
	for s, want := range map[string]int64{"": 0, "100m": 100, "1": 1000, "0.5": 500, "1Ki": 1024_000, "2G": 2e12, "1.5Mi": 1572864_000, "x": 0, "-1": 0} {
		if got := Amount(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := map[string]visit{"hostname": nil, "mtu": nil, "mac": nil, "dhcp4": nil}
	for key, want := range map[string]string{"hostnam": "hostname", "HOSTNAME": "hostname", "mtuu": "mtu", "dhcp": "dhcp4", "x": "", "kernel": ""} {
		if got := suggest(key, known); got != "" != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"full", "network", "kubelet", "pods"} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, faults := Parse(data, "fuzz")
		if c == nil || len(faults) > maxFaults+1 {
			t.Fatalf("config %v, %d faults", c, len(faults))
		}
		for _, fault := range faults {
			if fault.Text == "" || strings.ContainsAny(fault.String(), "\n\r") {
				t.Errorf("fault is not one line: %q", fault)
			}
		}
		for _, p := range c.StaticPods {
			var m map[string]any
			if err := yaml.Unmarshal(p.Manifest, &m); err != nil || m["kind"] != "Pod" {
				t.Errorf("manifest does not survive: %v\n%s", err, p.Manifest)
			}
		}
		if _, err := json.Marshal(c.Network); err != nil {
			t.Error(err)
		}
	})
}
