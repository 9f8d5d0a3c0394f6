package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/services/api"
	"holdfast/services/api/client"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	done   = 0
	failed = 1
	usage  = 2
)

// program is one run of the command, and all that it may touch outside files.
type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time

	format  format
	context string
	nodes   []string
	started bool // the command line was understood
}

// run carries a command line out and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return done
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintf(p.err, "holdfast: %v\n", err)
	}
	if _, wrong := errors.AsType[misuse](err); p.started && !wrong {
		return failed
	}
	fmt.Fprintf(p.err, "Try '%s --help'.\n", cmd.CommandPath())
	return usage
}

// misuse is an error in the command line that only the command itself sees.
type misuse struct{ error }

// errSaid is a failure whose description is the command's output.
var errSaid = errors.New("failed")

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Administer Holdfast nodes",
		Long: `Administer Holdfast nodes.

Exit codes: 0 done, 1 failed, 2 the command line was not understood.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	flags := root.PersistentFlags()
	flags.VarP(&p.format, "output", "o", "how to show results: table, json or yaml")
	flags.StringVar(&p.context, "context", "", "context to use instead of the current one (see: holdfast ctx)")
	flags.StringSliceVarP(&p.nodes, "node", "n", nil, "nodes of the context, by name; all when not given")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	must(root.RegisterFlagCompletionFunc("context", p.completeContexts))
	must(root.RegisterFlagCompletionFunc("node", p.completeNodes))
	root.AddCommand(p.pkiCommand(), p.ctxCommand(), p.configCommand(), p.versionCommand())
	root.AddCommand(p.nodeCommands()...)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	p.prepare(root)
	return root
}

// prepare makes every command note that it began, and every group refuse to
// be one: an error before that is one of usage.
func (p *program) prepare(c *cobra.Command) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			p.started = true
			return do(c, args)
		}
	} else if c.Run == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error { return p.noCommand(c, args) }
	}
	for _, sub := range c.Commands() {
		p.prepare(sub)
	}
}

func (p *program) noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		fmt.Fprintln(p.err, c.UsageString())
		return fmt.Errorf("expected a command after '%s'", c.CommandPath())
	}
	c.SuggestionsMinimumDistance = 2
	near := ""
	if s := c.SuggestionsFor(args[0]); len(s) > 0 {
		near = fmt.Sprintf("; did you mean '%s %s'?", c.CommandPath(), s[0])
	}
	return fmt.Errorf("unknown command %q after '%s'%s", args[0], c.CommandPath(), near)
}

// words checks how many arguments stand after a command.
func words(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		expected := strings.TrimSuffix(c.UseLine(), " [flags]")
		if len(args) < least {
			return fmt.Errorf("something is missing, expected: %s", expected)
		} else if len(args) > most {
			return fmt.Errorf("%q is too much, expected: %s", args[most], expected)
		}
		return nil
	}
}

// must is for what only a mistake in this program can make fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// warn tells a person something that is not the result.
func (p *program) warn(format string, args ...any) {
	fmt.Fprintf(p.err, "warning: "+format+"\n", args...)
}

func (p *program) versionCommand() *cobra.Command {
	var only bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of nodes",
		Args:  words(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			v := versions{Client: version, Nodes: []result[api.Version]{}}
			if known, err := p.load(); err == nil && (known.Current != "" || p.context != "") && !only {
				targets, err := p.targets(false)
				if err != nil {
					return err
				}
				v.Nodes = ask[api.Version](c.Context(), targets, api.GetVersion, client.Args{})
			}
			return p.showVersions(v)
		},
	}
	c.Flags().BoolVar(&only, "client", false, "ask no node")
	return c
}

type versions struct {
	Client string                `json:"client"`
	Nodes  []result[api.Version] `json:"nodes"`
}

func (p *program) showVersions(v versions) error {
	err := p.show(v, func(t *table) {
		t.row("this program", v.Client)
		for _, n := range v.Nodes {
			if n.Answer != nil {
				t.row(n.Node, n.Answer.Version+", boot "+n.Answer.BootID+", you are "+n.Answer.User+" ("+n.Answer.Role+")")
			}
		}
	})
	for _, n := range v.Nodes {
		if n.Error != nil {
			fmt.Fprintf(p.err, "holdfast: %s: %s\n", n.Node, n.Error)
			err = errSaid
		}
	}
	return err
}
