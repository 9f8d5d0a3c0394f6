package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"holdfast/services/nodeconfig"

	"github.com/spf13/cobra"
)

func (p *program) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and explain a node's configuration"}
	c.AddCommand(
		p.validateCommand(),
		p.printCommand("schema", "Print the document's JSON Schema, for editors", schemaText),
		p.printCommand("reference", "Print a page that explains every key (Markdown)", func() (string, error) { return nodeconfig.Reference(), nil }),
		p.printCommand("example", "Print a document with every key", func() (string, error) { return nodeconfig.Example, nil }),
	)
	return c
}

func schemaText() (string, error) {
	text, err := json.MarshalIndent(nodeconfig.Schema(), "", "  ")
	return string(text) + "\n", err
}

func (p *program) printCommand(name, short string, text func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  words(0, 0),
		RunE: func(*cobra.Command, []string) error {
			s, err := text()
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.out, s)
			return err
		},
	}
}

// verdict is what a node would say of a document.
type verdict struct {
	Source string  `json:"source"`
	Valid  bool    `json:"valid"`
	Faults []fault `json:"faults"`
}

type fault struct {
	Line int    `json:"line,omitempty"`
	Path string `json:"path,omitempty"`
	Text string `json:"text"`
}

func (p *program) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE…|-",
		Short: "Check documents as a node would, without a node",
		Long: `Check documents as a node would, without a node.

Each fault is one line with the document, the line and the key. A node applies
all that has no fault; so may you, but the exit code is 1.`,
		Args: words(1, 1000),
		RunE: func(_ *cobra.Command, args []string) error {
			var all []verdict
			for _, file := range args {
				data, err := p.read(file)
				if err != nil {
					return err
				}
				if file == "-" {
					file = "stdin"
				}
				all = append(all, judge(data, file))
			}
			return p.showVerdicts(all)
		},
	}
}

// read takes one byte more than a document may have, so that the parser sees
// that it is too long.
func (p *program) read(file string) ([]byte, error) {
	in := p.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, nodeconfig.MaxSize+1))
}

func judge(data []byte, source string) verdict {
	_, faults := nodeconfig.Parse(data, source)
	v := verdict{Source: source, Valid: len(faults) == 0, Faults: []fault{}}
	for _, f := range faults {
		v.Faults = append(v.Faults, fault{f.Line, f.Path, f.Text})
	}
	return v
}

func (p *program) showVerdicts(all []verdict) error {
	good := true
	for _, v := range all {
		good = good && v.Valid
	}
	if p.format == "json" || p.format == "yaml" {
		if err := p.show(all, nil); err != nil {
			return err
		}
	} else if err := p.printVerdicts(all); err != nil {
		return err
	}
	if !good {
		return errSaid
	}
	return nil
}

func (p *program) printVerdicts(all []verdict) error {
	for _, v := range all {
		if v.Valid {
			if _, err := fmt.Fprintf(p.out, "%s: valid\n", v.Source); err != nil {
				return err
			}
		}
		for _, f := range v.Faults {
			line := nodeconfig.Fault{Source: v.Source, Line: f.Line, Path: f.Path, Text: f.Text}
			if _, err := fmt.Fprintln(p.out, line); err != nil {
				return err
			}
		}
	}
	return nil
}
