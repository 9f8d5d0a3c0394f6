package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/services/pki"

	"github.com/spf13/cobra"
)

// pkiState is what the commands below pki share.
type pkiState struct {
	*program
	dir string
}

func (p *program) pkiCommand() *cobra.Command {
	s := &pkiState{program: p}
	c := &cobra.Command{
		Use:   "pki",
		Short: "Keep the authority that says who may administer nodes",
		Long: `Keep the authority that says who may administer nodes.

The authority is a directory with a key that never leaves it. Each person or
program gets a certificate of its own, with one role and a short life:

  reader    sees everything but secrets
  operator  also starts, stops and reboots
  admin     also changes configuration and software

Nodes get the bundle: the authority's certificate and its revocations.`,
	}
	c.PersistentFlags().StringVar(&s.dir, "dir", p.defaultPKI(), "the authority's directory (HOLDFAST_PKI)")
	must(c.MarkPersistentFlagDirname("dir"))
	c.AddCommand(s.initCommand(), s.issueCommand(), s.renewCommand(), s.revokeCommand(), s.showCommand(), s.bundleCommand())
	return c
}

func (p *program) defaultPKI() string {
	if d := p.env("HOLDFAST_PKI"); d != "" {
		return d
	}
	return filepath.Join(p.configDir(), "pki")
}

// configDir is where all of this program's own files stand.
func (p *program) configDir() string {
	if d := p.env("XDG_CONFIG_HOME"); d != "" {
		return filepath.Join(d, "holdfast")
	}
	return filepath.Join(p.env("HOME"), ".config", "holdfast")
}

// open reads the authority and warns before it expires.
func (s *pkiState) open() (*pki.Directory, error) {
	d, err := pki.Open(s.dir)
	if err != nil {
		return nil, err
	}
	if w := pki.Warning(d.Certificate, s.now()); w != "" {
		s.warn("the authority's own certificate %s; make a new authority and give nodes both bundles meanwhile", w)
	}
	return d, nil
}

// authority is an authority as it is shown.
type authority struct {
	Name        string    `json:"name"`
	Directory   string    `json:"directory"`
	Fingerprint string    `json:"fingerprint"`
	Serial      string    `json:"serial"`
	Expires     time.Time `json:"expires"`
	Revoked     []string  `json:"revoked"`
	Clients     []shown   `json:"clients"`
}

// shown is a client as it is shown.
type shown struct {
	Name        string    `json:"name"`
	Role        string    `json:"role"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
	State       string    `json:"state"`
	Certificate string    `json:"certificate"`
	Key         string    `json:"key,omitempty"`
}

func (s *pkiState) describe(d *pki.Directory) authority {
	a := authority{
		Name: d.Certificate.Subject.CommonName, Directory: d.Path, Fingerprint: pki.Fingerprint(d.Certificate),
		Serial: pki.Serial(d.Certificate.SerialNumber), Expires: d.Certificate.NotAfter,
		Revoked: []string{}, Clients: []shown{},
	}
	for _, e := range d.Revoked.RevokedCertificateEntries {
		a.Revoked = append(a.Revoked, pki.Serial(e.SerialNumber))
	}
	return a
}

func (s *pkiState) describeClient(d *pki.Directory, c pki.Client) shown {
	out := shown{
		Name: c.Certificate.Subject.CommonName, Serial: pki.Serial(c.Certificate.SerialNumber),
		Fingerprint: pki.Fingerprint(c.Certificate), Expires: c.Certificate.NotAfter,
		Certificate: c.CertificateFile, State: "valid",
	}
	if o := c.Certificate.Subject.Organization; len(o) == 1 {
		out.Role = o[0]
	}
	if _, err := os.Stat(c.KeyFile); err == nil {
		out.Key = c.KeyFile
	}
	switch {
	case d.IsRevoked(c.Certificate.SerialNumber):
		out.State = "revoked"
	case s.now().After(c.Certificate.NotAfter):
		out.State = "expired"
	case pki.Warning(c.Certificate, s.now()) != "":
		out.State = "expiring"
	}
	return out
}

func (s *pkiState) showClient(c shown) error {
	return s.show(c, func(t *table) {
		t.row("name", c.Name)
		t.row("role", c.Role)
		t.row("state", c.State)
		t.row("serial", c.Serial)
		t.row("expires", s.moment(c.Expires))
		t.row("certificate", c.Certificate)
		t.row("key", c.Key)
	})
}

func (s *pkiState) showAuthority(a authority) error {
	return s.show(a, func(t *table) {
		t.row("authority", a.Name)
		t.row("directory", a.Directory)
		t.row("fingerprint", a.Fingerprint)
		t.row("expires", s.moment(a.Expires))
		t.row("revoked", fmt.Sprint(len(a.Revoked)))
		if len(a.Clients) == 0 {
			return
		}
		t.row(" ")
		t.row("NAME", "ROLE", "STATE", "EXPIRES", "SERIAL")
		for _, c := range a.Clients {
			t.row(c.Name, c.Role, c.State, s.moment(c.Expires), c.Serial)
		}
	})
}

func (s *pkiState) initCommand() *cobra.Command {
	name, curve, years := "holdfast", "P-256", life(pki.AuthorityLife)
	c := &cobra.Command{
		Use:   "init",
		Short: "Make an authority",
		Args:  words(0, 0),
		RunE: func(*cobra.Command, []string) error {
			key, err := newKey(curve)
			if err != nil {
				return err
			}
			d, err := pki.Init(s.dir, name, key, time.Duration(years), s.now())
			if err != nil {
				return err
			}
			return s.showAuthority(s.describe(d))
		},
	}
	c.Flags().StringVar(&name, "name", name, "the authority's name")
	c.Flags().StringVar(&curve, "curve", curve, "the key's curve: P-256 or P-384")
	c.Flags().Var(&years, "life", "how long the authority lives")
	return c
}

func newKey(curve string) (*ecdsa.PrivateKey, error) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		if c.Params().Name == curve {
			return ecdsa.GenerateKey(c, rand.Reader)
		}
	}
	return nil, misuse{fmt.Errorf("curve is %q, expected P-256 or P-384", curve)}
}

func (s *pkiState) issueCommand() *cobra.Command {
	lasting := life(pki.DefaultLife)
	var role, request string
	c := &cobra.Command{
		Use:   "issue NAME --role ROLE",
		Short: "Make a certificate and its key for a person or program",
		Long: `Make a certificate and its key for a person or program.

With --csr the key stays where it is: only the request's public key is used.`,
		Args: words(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			what, err := pki.ParseRole(role)
			if err != nil {
				return misuse{err}
			}
			d, err := s.open()
			if err != nil {
				return err
			}
			r := pki.Request{Name: args[0], Role: what, Life: time.Duration(lasting)}
			if r.Public, err = requestKey(request); err != nil {
				return err
			}
			c, err := d.Issue(r, s.now())
			if err != nil {
				return err
			}
			return s.showClient(s.describeClient(d, c))
		},
	}
	c.Flags().StringVar(&role, "role", "", "reader, operator or admin")
	c.Flags().Var(&lasting, "life", "how long the certificate lives, at most 30d")
	c.Flags().StringVar(&request, "csr", "", "file with a certificate signing request (PEM)")
	must(c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"reader", "operator", "admin"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// requestKey reads a signing request's public key; nil without a file.
func requestKey(file string) (crypto.PublicKey, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(data)
	if b == nil || b.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("%s is not a certificate signing request in PEM form", file)
	}
	r, err := x509.ParseCertificateRequest(b.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r.PublicKey, nil
}

func (s *pkiState) renewCommand() *cobra.Command {
	var lasting life
	c := &cobra.Command{
		Use:   "renew NAME",
		Short: "Replace a certificate by a new one for the same name, role and key",
		Args:  words(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := s.open()
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("life") {
				old, err := d.Client(args[0])
				if err != nil {
					return err
				}
				lasting = life(old.Certificate.NotAfter.Sub(old.Certificate.NotBefore) - pki.Skew)
			}
			c, err := d.Renew(args[0], time.Duration(lasting), s.now())
			if err != nil {
				return err
			}
			return s.showClient(s.describeClient(d, c))
		},
		ValidArgsFunction: s.completeClients,
	}
	c.Flags().Var(&lasting, "life", "how long the new certificate lives, at most 30d (default as long as the old one)")
	return c
}

func (s *pkiState) revokeCommand() *cobra.Command {
	var serials []string
	c := &cobra.Command{
		Use:   "revoke [NAME…] [--serial SERIAL…]",
		Short: "Revoke certificates; nodes refuse them once they have the new bundle",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args)+len(serials) == 0 {
				return misuse{errors.New("expected a name or a serial number to revoke")}
			}
			d, err := s.open()
			if err != nil {
				return err
			}
			revoked, err := s.revoke(d, args, serials)
			if err != nil {
				return err
			}
			fmt.Fprintln(s.err, "Nodes refuse them once they have the new bundle: holdfast pki bundle")
			return s.show(revoked, func(t *table) {
				for _, r := range revoked {
					t.row("revoked", r)
				}
			})
		},
		ValidArgsFunction: s.completeClients,
	}
	c.Flags().StringSliceVar(&serials, "serial", nil, "serial numbers, as pki show and openssl print them")
	return c
}

// revoke checks everything before it revokes anything.
func (s *pkiState) revoke(d *pki.Directory, names, serials []string) (revoked []string, err error) {
	var all []*big.Int
	for _, text := range serials {
		n, err := pki.ParseSerial(text)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	for _, name := range names {
		more, err := d.Revocable(name, s.now())
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if err := d.Revoke(all, s.now()); err != nil {
		return nil, err
	}
	for _, n := range all {
		revoked = append(revoked, pki.Serial(n))
	}
	return revoked, nil
}

func (s *pkiState) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show the authority and its certificates, or one of them",
		Args:  words(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := s.open()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				c, err := d.Client(args[0])
				if err != nil {
					return err
				}
				return s.showClient(s.describeClient(d, c))
			}
			clients, err := d.Clients()
			if err != nil {
				return err
			}
			a := s.describe(d)
			for _, c := range clients {
				a.Clients = append(a.Clients, s.describeClient(d, c))
			}
			return s.showAuthority(a)
		},
		ValidArgsFunction: s.completeClients,
	}
}

func (s *pkiState) bundleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bundle",
		Short: "Print what nodes need: the authority's certificate and its revocations",
		Args:  words(0, 0),
		RunE: func(*cobra.Command, []string) error {
			d, err := s.open()
			if err != nil {
				return err
			}
			_, err = s.out.Write(d.Bundle())
			return err
		},
	}
}

func (s *pkiState) completeClients(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	d, err := pki.Open(s.dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	clients, err := d.Clients()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range clients {
		if name := c.Certificate.Subject.CommonName; !slices.Contains(given, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
