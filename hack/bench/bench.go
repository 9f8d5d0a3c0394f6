package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/rootfs/manifest"
)

type options struct {
	dir   string
	boots int
}

// figure is one measured value and the most that it may be.
type figure struct {
	name  string
	value float64
	limit float64
	unit  string
}

func (f figure) ok() bool { return f.value <= f.limit }

var errOver = errors.New("a figure is over its limit")

// run measures everything and prints the table.
func run(ctx context.Context, o options, out io.Writer) error {
	var all []figure
	for _, measure := range []func(context.Context, options, io.Writer) ([]figure, error){sizes, boots, memory, warmStart} {
		figures, err := measure(ctx, o, out)
		if err != nil {
			return err
		}
		all = append(all, figures...)
	}
	fmt.Fprint(out, "\n", render(all))
	if slices.ContainsFunc(all, func(f figure) bool { return !f.ok() }) {
		return errOver
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
