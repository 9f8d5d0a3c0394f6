package supervise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/tests/bed"
	"holdfast/tests/qemu"
	"holdfast/tests/soak"
)

// graph names services, and for each what it requires.
type graph map[string][]string

// randomGraph draws requirements such that none leads back. A service's name
// says nothing about its place.
func randomGraph(seed uint64, size int) graph {
	r := rand.New(rand.NewPCG(seed, seed))
	names := make([]string, size)
	for i, n := range r.Perm(size) {
		names[i] = fmt.Sprintf("s%03d", n)
	}
	g := graph{}
	for i, name := range names {
		g[name] = nil
		for range min(r.IntN(4), i) {
			if required := names[r.IntN(i)]; !slices.Contains(g[name], required) {
				g[name] = append(g[name], required)
			}
		}
	}
	return g
}

// roots require nothing; leaves are required by nothing.
func (g graph) roots() (names []string) {
	for name, requires := range g {
		if len(requires) == 0 {
			names = append(names, name)
		}
	}
	return names
}

func (g graph) leaves() (names []string) {
	required := map[string]bool{}
	for _, requires := range g {
		for _, r := range requires {
			required[r] = true
		}
	}
	for name := range g {
		if !required[name] {
			names = append(names, name)
		}
	}
	return names
}

// services makes each name a service. The roots become ready only when all of
// them have started, and the leaves end only when all of them were asked to:
// a supervisor that takes one after the other never comes up, or down.
func (g graph) services() map[string]*specs.Spec {
	roots, leaves := g.roots(), g.leaves()
	all := map[string]*specs.Spec{}
	for name, requires := range g {
		args := []string{"serve"}
		if slices.Contains(roots, name) {
			args = append(args, "-meet", fmt.Sprintf("roots:%d", len(roots)))
		}
		if slices.Contains(leaves, name) {
			args = append(args, "-part", fmt.Sprintf("leaves:%d", len(leaves)))
		}
		all[name] = bed.Service(bed.Set{"type": "notify", "requires": strings.Join(requires, ","), "timeout-start": "5m"}, args...)
	}
	return all
}

// check holds the journal against the graph.
func (g graph) check(t *testing.T, journal []bed.Event) {
	t.Helper()
	at := map[string]map[string]bed.Event{}
	for _, e := range journal {
		if _, ours := g[e.Name]; !ours {
			continue
		}
		if at[e.Name] == nil {
			at[e.Name] = map[string]bed.Event{}
		}
		if _, twice := at[e.Name][e.What]; twice {
			t.Errorf("%s: %s is there twice", e.Name, e.What)
		}
		at[e.Name][e.What] = e
	}
	for name, requires := range g {
		for _, what := range []string{"start", "ready", "term", "end"} {
			if _, ok := at[name][what]; !ok {
				t.Errorf("%s: no %s", name, what)
			}
		}
		for _, r := range requires {
			if at[r]["ready"].At > at[name]["start"].At {
				t.Errorf("%s started at %s, before %s was ready at %s", name, at[name]["start"].At, r, at[r]["ready"].At)
			}
			if at[name]["end"].At > at[r]["term"].At {
				t.Errorf("%s was asked to end at %s, before %s had at %s", r, at[r]["term"].At, name, at[name]["end"].At)
			}
		}
	}
}

// TestRandomGraphs starts and stops 200 services that require each other at
// random.
func TestRandomGraphs(t *testing.T) {
	for seed := range soak.Count(1, 5) {
		t.Run(fmt.Sprint("seed ", seed+1), func(t *testing.T) {
			t.Parallel()
			g := randomGraph(uint64(seed+1), 200)
			b := bed.Start(t, bed.Config{Services: g.services(), Machine: qemu.Config{MemoryMiB: 1024}, Cmdline: "holdfast.watchdog=3m"})
			var names []string
			for name := range g {
				names = append(names, name)
			}
			b.Up(names...)
			b.PowerOff()
			state := b.State()
			state.Clean()
			g.check(t, state.Journal())
		})
	}
}
