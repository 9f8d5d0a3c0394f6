package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"holdfast/services/atomicfile"
	"holdfast/services/pki"

	"go.yaml.in/yaml/v3"
)

// defaultPort is where nodes serve their API.
const defaultPort = "50000"

// contexts is the file that says which nodes there are, and as whom to speak
// to them.
type contexts struct {
	Current  string  `yaml:"current,omitempty" json:"current"`
	Contexts []entry `yaml:"contexts" json:"contexts"`
}

// entry is a context: a set of nodes with one identity for all of them. Of each pair of
// fields below one is given: PEM text, or the file that holds it.
type entry struct {
	Name            string `yaml:"name" json:"name"`
	Nodes           []node `yaml:"nodes" json:"nodes"`
	Authority       string `yaml:"authority,omitempty" json:"authority,omitempty"` // of nodes that have no fingerprint
	AuthorityFile   string `yaml:"authorityFile,omitempty" json:"authorityFile,omitempty"`
	Certificate     string `yaml:"certificate,omitempty" json:"certificate,omitempty"`
	CertificateFile string `yaml:"certificateFile,omitempty" json:"certificateFile,omitempty"`
	Key             string `yaml:"key,omitempty" json:"key,omitempty"`
	KeyFile         string `yaml:"keyFile,omitempty" json:"keyFile,omitempty"`
}

// node is one node: where it is, and which key it must have.
type node struct {
	Name        string `yaml:"name" json:"name"`
	Endpoint    string `yaml:"endpoint" json:"endpoint"`
	Fingerprint string `yaml:"fingerprint,omitempty" json:"fingerprint,omitempty"`
}

func (p *program) contextsFile() string {
	if f := p.env("HOLDFAST_CONFIG"); f != "" {
		return f
	}
	return filepath.Join(p.configDir(), "contexts.yaml")
}

// load reads the file; one that is not there has no contexts.
func (p *program) load() (*contexts, error) {
	file := p.contextsFile()
	data, err := atomicfile.ReadPrivate(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &contexts{}, nil
	} else if err != nil {
		return nil, err
	}
	c, err := parseContexts(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func parseContexts(data []byte) (*contexts, error) {
	var c contexts
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, oneLine(err)
	}
	seen := map[string]bool{}
	for _, x := range c.Contexts {
		if seen[x.Name] {
			return nil, fmt.Errorf("context %s stands there twice", x.Name)
		}
		seen[x.Name] = true
		if err := x.check(); err != nil {
			return nil, fmt.Errorf("context %s: %w", x.Name, err)
		}
	}
	if c.Current != "" && !seen[c.Current] {
		return nil, fmt.Errorf("current is %s, which is none of the contexts", c.Current)
	}
	return &c, nil
}

// oneLine shortens what the YAML library says: it has a line for each fault
// and names Go's types.
func oneLine(err error) error {
	if t, ok := errors.AsType[*yaml.TypeError](err); ok {
		var texts []string
		for _, e := range t.Errors {
			text, _, _ := strings.Cut(e, " in type ")
			text, _, _ = strings.Cut(text, " into main.")
			texts = append(texts, strings.ReplaceAll(text, "\n", " "))
		}
		return errors.New(strings.Join(texts, "; "))
	}
	return errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
}

func (x *entry) check() error {
	if x.Name == "" || strings.ContainsAny(x.Name, " \t\n,") {
		return errors.New("expected a name without spaces and commas")
	}
	if len(x.Nodes) == 0 {
		return errors.New("has no nodes, expected at least one")
	}
	for i, n := range x.Nodes {
		if n.Name == "" || strings.ContainsAny(n.Name, " \t\n,=") {
			return fmt.Errorf("node's name is %q, expected one without spaces, commas and =", n.Name)
		}
		if slices.ContainsFunc(x.Nodes[:i], func(o node) bool { return o.Name == n.Name }) {
			return fmt.Errorf("node %s stands there twice", n.Name)
		}
		if _, err := parseEndpoint(n.Endpoint); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		if n.Fingerprint == "" && x.Authority+x.AuthorityFile == "" {
			return fmt.Errorf("node %s has no fingerprint, and there is no authority for nodes; its console shows the fingerprint", n.Name)
		} else if n.Fingerprint == "" {
			continue
		}
		if _, err := pki.ParseFingerprint(n.Fingerprint); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// parseEndpoint completes HOST[:PORT].
func parseEndpoint(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), defaultPort
		if strings.Count(host, ":") == 1 {
			host = ""
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if host == "" || err != nil || n == 0 || strings.ContainsAny(host, " /@") {
		return "", fmt.Errorf("endpoint is %q, expected HOST or HOST:PORT", s)
	}
	return net.JoinHostPort(host, port), nil
}

// save writes the file, whole or not at all.
func (p *program) save(c *contexts) error {
	file := p.contextsFile()
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c); err != nil {
		return err
	}
	return atomicfile.Replace(file, 0o600, b.Bytes())
}

func (c *contexts) find(name string) int {
	return slices.IndexFunc(c.Contexts, func(x entry) bool { return x.Name == name })
}

// named finds a context, and says what there is when it is not there.
func (c *contexts) named(name string) (*entry, error) {
	if i := c.find(name); i >= 0 {
		return &c.Contexts[i], nil
	}
	if len(c.Contexts) == 0 {
		return nil, fmt.Errorf("there is no context %s, nor any other; make one with: holdfast ctx add", name)
	}
	return nil, fmt.Errorf("there is no context %s, but %s", name, strings.Join(c.names(), ", "))
}

func (c *contexts) names() []string {
	var names []string
	for _, x := range c.Contexts {
		names = append(names, x.Name)
	}
	return names
}

// chosen is the context that the command line or the file names.
func (p *program) chosen() (*entry, error) {
	c, err := p.load()
	if err != nil {
		return nil, err
	}
	name := p.context
	if name == "" {
		name = c.Current
	}
	if name == "" && len(c.Contexts) == 0 {
		return nil, errors.New("there is no context yet; make one with: holdfast ctx add")
	} else if name == "" {
		return nil, errors.New("no context is current; choose one with: holdfast ctx use")
	}
	return c.named(name)
}

func (x *entry) nodeNames() []string {
	var names []string
	for _, n := range x.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// identity reads the client certificate and its key.
func (x *entry) identity() (tls.Certificate, error) {
	certificate, err := x.readCertificate()
	if err != nil {
		return tls.Certificate{}, err
	}
	key, file := []byte(x.Key), "context "+x.Name+"'s key"
	if x.KeyFile != "" {
		signer, err := pki.ReadKey(x.KeyFile)
		if err != nil {
			return tls.Certificate{}, err
		}
		return pki.Pair(certificate, signer)
	}
	signer, err := pki.ParseKey(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s %w", file, err)
	}
	return pki.Pair(certificate, signer)
}

func (x *entry) readCertificate() (*x509.Certificate, error) {
	data, what, err := inlineOrFile(x.Certificate, x.CertificateFile)
	if err != nil {
		return nil, err
	}
	c, err := pki.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("context %s: certificate%s %w", x.Name, what, err)
	}
	return c, nil
}

// authorities are whose word counts for nodes without a fingerprint.
func (x *entry) authorities() (pki.Trust, error) {
	data, what, err := inlineOrFile(x.Authority, x.AuthorityFile)
	if err != nil || len(data) == 0 {
		return pki.Trust{}, err
	}
	t, err := pki.ParseTrust(data)
	if err != nil {
		return t, fmt.Errorf("context %s: authority%s %w", x.Name, what, err)
	}
	return t, nil
}

func inlineOrFile(text, file string) (data []byte, what string, err error) {
	if file == "" {
		return []byte(text), "", nil
	}
	data, err = os.ReadFile(file)
	return data, " " + file, err
}
