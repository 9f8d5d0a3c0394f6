package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"holdfast/tests/probe"
)

func TestRender(t *testing.T) {
	got := render([]figure{{"root image", 71.34, 110, "MB"}, {"pod serving, guest time, 2 CPUs, tcg", 12.06, 12, "s"}})
	want := `                                              measured     limit
root image                                        71.3     110.0  MB   ok
pod serving, guest time, 2 CPUs, tcg              12.1      12.0  s    OVER
`
	if got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %v, expected %v", c.in, got, c.want)
		}
	}
}

func TestOwnMemory(t *testing.T) {
	got := ownMB([]probe.Process{
		{PID: 1, Comm: "init", RSSKiB: 10000}, {PID: 9, Comm: "holdfastd", RSSKiB: 5000}, {PID: 10, Comm: "kubelet", RSSKiB: 70000},
	})
	if got != 15.36 {
		t.Errorf("%v MB, expected 15.36", got)
	}
}

func TestSizes(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"sizes":[{"name":"uki","bytes":9000000},{"name":"root","bytes":70000000},{"name":"kernel","bytes":8000000}]}`)
	f, err := sizes(context.Background(), options{dir: dir}, io.Discard)
	if err != nil || len(f) != 3 || f[0].value != 70 || f[1].value != 8 || f[2].value != 9 {
		t.Errorf("%+v, %v", f, err)
	}
	write(`{"sizes":[{"name":"uki","bytes":9000000}]}`)
	if f, err := sizes(context.Background(), options{dir: dir}, io.Discard); err == nil {
		t.Errorf("a manifest without a root: %+v", f)
	}
}
