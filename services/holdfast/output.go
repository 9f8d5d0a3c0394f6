package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

// format is how results are shown; the zero value is a table.
type format string

var formats = []string{"table", "json", "yaml"}

func (f *format) String() string {
	if *f == "" {
		return formats[0]
	}
	return string(*f)
}

func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) {
		return fmt.Errorf("expected one of %s", strings.Join(formats, ", "))
	}
	*f = format(s)
	return nil
}

// Type is what help calls the flag's value.
func (f *format) Type() string { return "format" }

// table is for a person.
type table struct{ *tabwriter.Writer }

func (t table) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// show writes a result as the -o flag says: JSON and YAML hold all of it, a
// table what a person looks for.
func (p *program) show(v any, fill func(*table)) error {
	switch p.format {
	case "json":
		e := json.NewEncoder(p.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		return p.yaml(v)
	}
	var b bytes.Buffer
	t := &table{tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)}
	fill(t)
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) { // a table's last column is not padded
		if _, err := fmt.Fprintln(p.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// yaml writes the JSON form with the same names and order.
func (p *program) yaml(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil { // JSON is YAML
		return err
	}
	plain(&n)
	e := yaml.NewEncoder(p.out)
	e.SetIndent(2)
	return e.Encode(&n)
}

// plain takes the JSON style from a node.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

// moment shows a time, and how far away it is.
func (p *program) moment(t time.Time) string {
	return t.UTC().Format("2006-01-02 15:04 UTC") + " (" + distance(t.Sub(p.now())) + ")"
}

func distance(d time.Duration) string {
	form := "in %s"
	if d < 0 {
		d, form = -d, "%s ago"
	}
	text := d.Round(time.Second).String()
	switch {
	case d >= 48*time.Hour:
		text = fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		text = fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		text = fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf(form, text)
}

// life is a duration flag that also knows days.
type life time.Duration

func (l *life) String() string {
	d := time.Duration(*l)
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func (l *life) Set(s string) error {
	var days int
	var unit string
	if n, err := fmt.Sscanf(s, "%d%1s", &days, &unit); n == 2 && err == nil && s == fmt.Sprintf("%dd", days) {
		if days > 36500 {
			return fmt.Errorf("%s is too long", s)
		}
		*l = life(days) * life(24*time.Hour)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("expected a duration such as 90m, 24h or 7d")
	}
	*l = life(d)
	return nil
}

// Type is what help calls the flag's value.
func (l *life) Type() string { return "duration" }
