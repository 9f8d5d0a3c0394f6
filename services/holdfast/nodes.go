package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	"holdfast/services/api"
	"holdfast/services/api/client"
	"holdfast/services/pki"

	"github.com/spf13/cobra"
)

// chosenNodes are those of a context that -n names; all when it names none.
func (p *program) chosenNodes(x *entry) ([]node, error) {
	if len(p.nodes) == 0 {
		return x.Nodes, nil
	}
	var chosen []node
	for _, name := range p.nodes {
		i := slices.IndexFunc(x.Nodes, func(n node) bool { return n.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("context %s has no node %s, but %s", x.Name, name, strings.Join(x.nodeNames(), ", "))
		}
		chosen = append(chosen, x.Nodes[i])
	}
	return chosen, nil
}

// maxParallel bounds how many nodes are spoken to at once.
const maxParallel = 32

// target is a node that is spoken to.
type target struct {
	node
	client *client.Client
}

// targets are the nodes that a command is for. A command that changes
// something is for those that are named, or for the only one.
func (p *program) targets(changes bool) ([]target, error) {
	x, err := p.chosen()
	if err != nil {
		return nil, err
	}
	if changes && len(p.nodes) == 0 && len(x.Nodes) > 1 {
		return nil, misuse{fmt.Errorf("context %s has %d nodes; say which with -n: %s", x.Name, len(x.Nodes), strings.Join(x.nodeNames(), ","))}
	}
	nodes, err := p.chosenNodes(x)
	if err != nil {
		return nil, err
	}
	own, err := x.identity()
	if err != nil {
		return nil, err
	}
	if w := pki.Warning(own.Leaf, p.now()); w != "" {
		p.warn("the certificate of %s %s; renew it with: holdfast pki renew %s", own.Leaf.Subject.CommonName, w, own.Leaf.Subject.CommonName)
	}
	trust, err := x.authorities()
	if err != nil {
		return nil, err
	}
	var all []target
	for _, n := range nodes {
		host, _, err := net.SplitHostPort(n.Endpoint)
		if err != nil {
			host = n.Endpoint
		}
		endpoint, err := parseEndpoint(n.Endpoint)
		if err != nil {
			return nil, err
		}
		conf := pki.ClientConfig(own, pki.Peer{Fingerprint: n.Fingerprint, Authorities: trust, Host: host}, p.now)
		all = append(all, target{n, client.New(endpoint, conf)})
	}
	return all, nil
}

// result is what one node answered.
type result[T any] struct {
	Node   string     `json:"node"`
	Answer *T         `json:"answer,omitempty"`
	Error  *api.Error `json:"error,omitempty"`
}

// ask makes a call on all nodes at once. The results are in the nodes' order.
func ask[T any](ctx context.Context, targets []target, call string, args client.Args) []result[T] {
	results := make([]result[T], len(targets))
	each(targets, func(i int, t target) {
		answer, err := client.Do[T](ctx, t.client, call, args)
		results[i] = result[T]{Node: t.Name}
		if err != nil {
			results[i].Error = asError(err)
			return
		}
		results[i].Answer = &answer
	})
	return results
}

// each does something for every node, for some of them at once.
func each(targets []target, do func(int, target)) {
	var tasks sync.WaitGroup
	room := make(chan struct{}, maxParallel)
	for i, t := range targets {
		room <- struct{}{}
		tasks.Go(func() {
			defer func() { <-room }()
			defer t.client.Close()
			do(i, t)
		})
	}
	tasks.Wait()
}

// asError gives a failure of the connection a code of its own.
func asError(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	return &api.Error{Code: "unreachable", Text: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// present shows all results; errors, by node, are the last.
func present[T any](p *program, results []result[T], fill func(t *table, several bool, node string, answer *T)) error {
	failed := false
	for _, r := range results {
		failed = failed || r.Error != nil
	}
	if p.format == "json" || p.format == "yaml" {
		if err := p.show(results, nil); err != nil {
			return err
		}
	} else if err := p.show(nil, func(t *table) {
		for _, r := range results {
			if r.Answer != nil {
				fill(t, len(results) > 1, r.Node, r.Answer)
			}
		}
	}); err != nil {
		return err
	}
	for _, r := range results {
		if r.Error != nil {
			fmt.Fprintf(p.err, "holdfast: %s: %s\n", r.Node, r.Error)
		}
	}
	if failed {
		return errSaid
	}
	return nil
}

// nodeCommand makes a call that takes nothing and shows what is answered.
func nodeCommand[T any](p *program, use, short, call string, changes bool, fill func(t *table, several bool, node string, answer *T)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: words(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			targets, err := p.targets(changes)
			if err != nil {
				return err
			}
			return present(p, ask[T](c.Context(), targets, call, client.Args{}), fill)
		},
	}
}

// follow runs a stream on all nodes at once; a renderer, one for each node,
// makes text of items.
func follow[T any](p *program, c *cobra.Command, call string, args client.Args, renderer func() func(T) string) error {
	targets, err := p.targets(false)
	if err != nil {
		return err
	}
	out := &lines{w: bufio.NewWriter(p.out)}
	failures := make([]error, len(targets))
	each(targets, func(i int, t target) {
		render := renderer()
		failures[i] = client.Stream(c.Context(), t.client, call, args, func(item T) error {
			switch {
			case p.format == "json":
				text, err := json.Marshal(result[T]{Node: t.Name, Answer: &item})
				return errors.Join(err, out.write(string(text)+"\n"))
			case len(targets) > 1:
				return out.write(t.Name + " | " + render(item))
			}
			return out.write(render(item))
		})
	})
	failed := false
	for i, err := range failures {
		if err != nil {
			failed = true
			fmt.Fprintf(p.err, "holdfast: %s: %s\n", targets[i].Name, asError(err))
		}
	}
	if failed {
		return errSaid
	}
	return nil
}

// lines keeps the lines of several nodes apart.
type lines struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (l *lines) write(s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.w, s); err != nil {
		return err
	}
	return l.w.Flush()
}

// values makes a query of what is not empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			v.Set(pair[0], pair[1])
		}
	}
	return v
}
