package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/services/pki"

	"github.com/spf13/cobra"
)

func (p *program) ctxCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ctx",
		Short: "Choose which nodes to speak to, and as whom",
		Long: `Choose which nodes to speak to, and as whom.

A context names nodes, the fingerprints of their keys, and the certificate with
which to speak to them. Contexts stand in a file of mode 0600: HOLDFAST_CONFIG,
or contexts.yaml in the user's configuration directory for holdfast.`,
	}
	c.AddCommand(p.ctxList(), p.ctxUse(), p.ctxAdd(), p.ctxRemove(), p.ctxShow())
	return c
}

// summary is a context in a list.
type summary struct {
	Name    string     `json:"name"`
	Current bool       `json:"current"`
	Nodes   []string   `json:"nodes"`
	User    string     `json:"user,omitempty"`
	Role    string     `json:"role,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Fault   string     `json:"fault,omitempty"`
}

func (p *program) ctxList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the contexts",
		Args:  words(0, 0),
		RunE: func(*cobra.Command, []string) error {
			c, err := p.load()
			if err != nil {
				return err
			}
			all := []summary{}
			for _, x := range c.Contexts {
				all = append(all, summarize(x, c.Current))
			}
			return p.show(all, func(t *table) {
				t.row("CURRENT", "NAME", "NODES", "USER", "ROLE", "EXPIRES")
				for _, s := range all {
					mark, expires := " ", s.Fault
					if s.Current {
						mark = "*"
					}
					if s.Expires != nil {
						expires = p.moment(*s.Expires)
					}
					t.row(mark, s.Name, strings.Join(s.Nodes, ","), s.User, s.Role, expires)
				}
			})
		},
	}
}

func summarize(x entry, current string) summary {
	s := summary{Name: x.Name, Current: x.Name == current, Nodes: x.nodeNames()}
	cert, err := x.readCertificate()
	if err != nil {
		s.Fault = err.Error()
		return s
	}
	s.User, s.Role, s.Expires = cert.Subject.CommonName, strings.Join(cert.Subject.Organization, ","), &cert.NotAfter
	return s
}

func (p *program) ctxUse() *cobra.Command {
	return &cobra.Command{
		Use:   "use NAME",
		Short: "Make a context the current one",
		Args:  words(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.load()
			if err != nil {
				return err
			}
			if _, err := c.named(args[0]); err != nil {
				return err
			}
			c.Current = args[0]
			return p.save(c)
		},
		ValidArgsFunction: p.completeOneContext,
	}
}

func (p *program) ctxRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a context; certificate and key files stay",
		Args:  words(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.load()
			if err != nil {
				return err
			}
			if _, err := c.named(args[0]); err != nil {
				return err
			}
			i := c.find(args[0])
			c.Contexts = slices.Delete(c.Contexts, i, i+1)
			if c.Current == args[0] {
				c.Current = ""
			}
			return p.save(c)
		},
		ValidArgsFunction: p.completeOneContext,
	}
}

func (p *program) ctxShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show a context, the current one when not named; keys are not shown",
		Args:  words(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.context = args[0]
			}
			x, err := p.chosen()
			if err != nil {
				return err
			}
			shown := *x
			if shown.Key != "" {
				shown.Key = "(in the file of contexts)"
			}
			return p.show(shown, func(t *table) { p.contextTable(t, shown) })
		},
		ValidArgsFunction: p.completeOneContext,
	}
}

func (p *program) contextTable(t *table, x entry) {
	s := summarize(x, "")
	t.row("name", x.Name)
	t.row("user", s.User)
	t.row("role", s.Role)
	if s.Expires != nil {
		t.row("expires", p.moment(*s.Expires))
	} else {
		t.row("fault", s.Fault)
	}
	t.row("certificate", place(x.CertificateFile))
	t.row("key", place(x.KeyFile))
	if x.Authority+x.AuthorityFile != "" {
		t.row("authority", place(x.AuthorityFile))
	}
	t.row(" ")
	t.row("NODE", "ENDPOINT", "FINGERPRINT")
	for _, n := range x.Nodes {
		t.row(n.Name, n.Endpoint, n.Fingerprint)
	}
}

func place(file string) string {
	if file == "" {
		return "(in the file of contexts)"
	}
	return file
}

// addition is what the flags of ctx add say.
type addition struct {
	nodes, pins          []string
	authority, cert, key string
	embed, use           bool
}

func (p *program) ctxAdd() *cobra.Command {
	var a addition
	c := &cobra.Command{
		Use:   "add NAME --node NODE=ENDPOINT… --cert FILE --key FILE",
		Short: "Add a context",
		Example: `  holdfast ctx add lab --node node-1=192.0.2.10 --pin node-1=SHA256:… \
      --cert ~/.config/holdfast/pki/clients/alice/client.crt --key ~/.config/holdfast/pki/clients/alice/client.key`,
		Args: words(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			x, err := a.context(args[0])
			if err != nil {
				return err
			}
			return p.addContext(x, a.use)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&a.nodes, "node", nil, "a node, NAME=HOST[:PORT]; may be repeated")
	f.StringArrayVar(&a.pins, "pin", nil, "the fingerprint of a node's key, NAME=SHA256:…, as its console shows it; may be repeated")
	f.StringVar(&a.authority, "ca", "", "file with the authority of nodes without a fingerprint (PEM)")
	f.StringVar(&a.cert, "cert", "", "file with the client certificate (PEM)")
	f.StringVar(&a.key, "key", "", "file with its key (PEM)")
	f.BoolVar(&a.embed, "embed", false, "copy the files' contents into the context")
	f.BoolVar(&a.use, "use", false, "make it the current context, as the first one is anyway")
	return c
}

func (a *addition) context(name string) (entry, error) {
	x := entry{Name: name}
	if a.cert == "" || a.key == "" {
		return x, misuse{errors.New("expected a client certificate and its key: --cert FILE --key FILE (make them with: holdfast pki issue)")}
	}
	if len(a.nodes) == 0 {
		return x, misuse{errors.New("expected a node: --node NAME=HOST[:PORT]")}
	}
	for _, text := range a.nodes {
		n, at, _ := strings.Cut(text, "=")
		endpoint, err := parseEndpoint(at)
		if err != nil {
			return x, misuse{fmt.Errorf("node is %q, expected NAME=HOST[:PORT]", text)}
		}
		x.Nodes = append(x.Nodes, node{Name: n, Endpoint: endpoint})
	}
	for _, text := range a.pins {
		n, pin, ok := strings.Cut(text, "=")
		i := slices.IndexFunc(x.Nodes, func(o node) bool { return o.Name == n })
		if !ok || i < 0 {
			return x, misuse{fmt.Errorf("pin is %q, expected NAME=SHA256:…, with the name of one of the nodes", text)}
		}
		x.Nodes[i].Fingerprint = pin
	}
	if err := a.files(&x); err != nil {
		return x, err
	}
	return x, x.check()
}

// files notes where the files are, and checks that they can be used.
func (a *addition) files(x *entry) error {
	for _, f := range []struct {
		file       string
		text, path *string
	}{
		{a.authority, &x.Authority, &x.AuthorityFile},
		{a.cert, &x.Certificate, &x.CertificateFile},
		{a.key, &x.Key, &x.KeyFile},
	} {
		if f.file == "" {
			continue
		}
		path, err := filepath.Abs(f.file)
		if err != nil {
			return err
		}
		if *f.path = path; !a.embed {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		*f.path, *f.text = "", string(data)
	}
	_, err := x.identity()
	if err == nil {
		_, err = x.authorities()
	}
	return err
}

func (p *program) addContext(x entry, use bool) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	if c.find(x.Name) >= 0 {
		return fmt.Errorf("context %s is there already; remove it first with: holdfast ctx remove %s", x.Name, x.Name)
	}
	cert, err := x.readCertificate()
	if err != nil {
		return err
	}
	if w := pki.Warning(cert, p.now()); w != "" {
		p.warn("the certificate of %s %s; renew it with: holdfast pki renew", cert.Subject.CommonName, w)
	}
	c.Contexts = append(c.Contexts, x)
	if use || len(c.Contexts) == 1 {
		c.Current = x.Name
	}
	return p.save(c)
}

func (p *program) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := p.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.names(), cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeOneContext(c *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.completeContexts(c, args, s)
}

func (p *program) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	x, err := p.chosen()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return x.nodeNames(), cobra.ShellCompDirectiveNoFileComp
}
