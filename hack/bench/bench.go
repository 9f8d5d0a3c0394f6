package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/hack/bench/peer"
	"holdfast/rootfs/manifest"
)

type options struct {
	dir    string
	boots  int
	passes int    // boots of each of the machines beside which PID 1 is measured
	only   string // the one measurement to make; empty: all
}

// figure is one measured value and the most that it may be.
type figure struct {
	name  string
	value float64
	limit float64
	unit  string
}

func (f figure) ok() bool { return f.value <= f.limit }

var (
	errOver   = errors.New("a figure is over its limit")
	errBehind = errors.New("PID 1 is behind its peer, or over a limit")
)

// measurements are made in this order; "peer" follows them, with a table of its own.
var measurements = []struct {
	name string
	do   func(context.Context, options, io.Writer) ([]figure, error)
}{
	{"sizes", sizes}, {"boots", boots}, {"memory", memory}, {"start", warmStart},
}

// known tells whether the one measurement to make exists.
func (o options) known() bool {
	if o.only == "" || o.only == "peer" {
		return true
	}
	for _, m := range measurements {
		if m.name == o.only {
			return true
		}
	}
	return false
}

// run measures everything, or one thing, and prints the tables.
func run(ctx context.Context, o options, out io.Writer) error {
	var all []figure
	for _, m := range measurements {
		if o.only != "" && o.only != m.name {
			continue
		}
		figures, err := m.do(ctx, o, out)
		if err != nil {
			return err
		}
		all = append(all, figures...)
	}
	var failed error
	if len(all) > 0 {
		fmt.Fprint(out, "\n", render(all))
	}
	if slices.ContainsFunc(all, func(f figure) bool { return !f.ok() }) {
		failed = errOver
	}
	if o.only != "" && o.only != "peer" {
		return failed
	}
	return errors.Join(failed, beside(ctx, o, out))
}

// beside measures PID 1 and its peer in turn.
func beside(ctx context.Context, o options, out io.Writer) error {
	rows, err := peer.Compare(ctx, peer.Options{Passes: o.passes, Out: out})
	if err != nil {
		return fmt.Errorf("measure a peer: %w", err)
	}
	fmt.Fprint(out, "\n", peer.Render(rows))
	if slices.ContainsFunc(rows, func(r peer.Row) bool { return !r.OK() }) {
		return errBehind
	}
	return nil
}

// render shows the figures as a table.
func render(figures []figure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-44s%10s%10s\n", "", "measured", "limit")
	for _, f := range figures {
		verdict := "ok"
		if !f.ok() {
			verdict = "OVER"
		}
		fmt.Fprintf(&b, "%-44s%10.1f%10.1f  %-5s%s\n", f.name, f.value, f.limit, f.unit, verdict)
	}
	return b.String()
}

// sizes reads the release's manifest; MB are 10⁶ bytes.
func sizes(_ context.Context, o options, _ io.Writer) ([]figure, error) {
	m, err := manifest.Read(filepath.Join(o.dir, "manifest.json"))
	if err != nil {
		return nil, fmt.Errorf("measure sizes: %w", err)
	}
	figures := []figure{
		{"root image", 0, 110, "MB"}, {"kernel, with BTF", 0, 10, "MB"}, {"unified kernel image", 0, 14, "MB"},
	}
	for i, part := range []string{"root", "kernel", "uki"} {
		at := slices.IndexFunc(m.Sizes, func(s manifest.Size) bool { return s.Name == part })
		if at < 0 {
			return nil, fmt.Errorf("measure sizes: the manifest names no %s", part)
		}
		figures[i].value = float64(m.Sizes[at].Bytes) / 1e6
	}
	return figures, nil
}

// median of an even number of values is the higher of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
