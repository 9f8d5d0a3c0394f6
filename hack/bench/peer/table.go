package peer

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/hack/bench/sample"
)

// Row is one figure of both. Lower is better for every one.
type Row struct {
	Name, Unit   string
	Ours, Theirs float64
	Limit        float64 // ours must not be above it; 0: none
	Aside        bool    // shown to explain another: it need not be ahead
}

// OK tells whether ours is ahead, and within its limit.
func (r Row) OK() bool {
	return (r.Aside || r.Ours < r.Theirs) && (r.Limit == 0 || r.Ours <= r.Limit)
}

func (r Row) verdict() string {
	switch {
	case r.Limit > 0 && r.Ours > r.Limit:
		return "OVER"
	case r.Aside && r.Limit == 0:
		return ""
	case r.Aside:
		return "ok"
	case r.Ours < r.Theirs:
		return "ahead"
	}
	return "BEHIND"
}

// Indices of scenarios.
const (
	none = iota
	with20
	with220
	acting
)

// rows makes the table's figures of what was measured in each scenario.
func rows(ours, theirs [][]sample.Guest) []Row {
	var all []Row
	add := func(r Row, of func([][]sample.Guest) float64) {
		r.Ours, r.Theirs = of(ours), of(theirs)
		all = append(all, r)
	}
	for _, m := range []struct {
		name  string
		aside bool
		of    func(sample.Memory) int64
	}{
		{"PID 1, 20 services: resident", false, func(m sample.Memory) int64 { return m.RSS }},
		{"PID 1, 20 services: proportional (PSS)", false, func(m sample.Memory) int64 { return m.PSS }},
		{"PID 1, 20 services: private", false, func(m sample.Memory) int64 { return m.Private }},
		{"  of the resident, its own (anonymous)", true, func(m sample.Memory) int64 { return m.Anon }},
		{"  of the resident, of files", true, func(m sample.Memory) int64 { return m.File }},
	} {
		add(Row{Name: m.name, Unit: "MB", Aside: m.aside}, func(g [][]sample.Guest) float64 {
			return medianMemory(g[with20], m.of) * 1024 / 1e6
		})
	}
	add(Row{Name: "request to first instruction of a service", Unit: "ms"}, func(g [][]sample.Guest) float64 {
		return medianMs(g[acting], func(s sample.Guest) []float64 { return s.StartUs })
	})
	add(Row{Name: "exit to restart, no backoff", Unit: "ms"}, func(g [][]sample.Guest) float64 {
		return medianMs(g[acting], func(s sample.Guest) []float64 { return s.RestartUs })
	})
	add(Row{Name: "stop 100 services", Unit: "ms"}, func(g [][]sample.Guest) float64 {
		return medianMs(g[acting], func(s sample.Guest) []float64 { return s.StopUs })
	})
	add(Row{Name: "  until their processes are gone", Unit: "ms", Aside: true}, func(g [][]sample.Guest) float64 {
		return medianMs(g[acting], func(s sample.Guest) []float64 { return s.GoneUs })
	})
	add(Row{Name: "PID 1, resident for each idle service", Unit: "KiB", Limit: 64, Aside: true}, func(g [][]sample.Guest) float64 {
		rss := func(m sample.Memory) int64 { return m.RSS }
		return (medianMemory(g[with220], rss) - medianMemory(g[with20], rss)) / (many - few)
	})
	add(Row{Name: "wake-ups, each watchdog interval", Limit: 1, Aside: true}, func(g [][]sample.Guest) float64 {
		return perInterval(g[with20], func(i sample.Idle) float64 { return float64(i.Wakes) })
	})
	add(Row{Name: "  context switches, each watchdog interval", Aside: true}, func(g [][]sample.Guest) float64 {
		return perInterval(g[with20], func(i sample.Idle) float64 { return float64(i.Switches) })
	})
	return all
}

func medianMemory(boots []sample.Guest, of func(sample.Memory) int64) float64 {
	var values []float64
	for _, b := range boots {
		values = append(values, float64(of(b.Memory)))
	}
	return median(values)
}

func medianMs(boots []sample.Guest, of func(sample.Guest) []float64) float64 {
	var values []float64
	for _, b := range boots {
		values = append(values, of(b)...)
	}
	return median(values) / 1000
}

func perInterval(boots []sample.Guest, of func(sample.Idle) float64) float64 {
	var values []float64
	for _, b := range boots {
		values = append(values, of(b.Idle)/(float64(b.Idle.Seconds)/watchdog.Seconds()))
	}
	return median(values)
}

// median of an even number of values is the higher of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// Render shows the table.
func Render(all []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-46s%10s%13s%8s%8s\n", "PID 1, beside a peer", "holdfast", "systemd 257", "ratio", "limit")
	for _, r := range all {
		limit := ""
		if r.Limit > 0 {
			limit = fmt.Sprintf("%.0f", r.Limit)
		}
		ratio := "-"
		if r.Theirs != 0 {
			ratio = fmt.Sprintf("%.2f", r.Ours/r.Theirs)
		}
		line := fmt.Sprintf("%-46s%10.2f%13.2f%8s%8s  %-4s%s", r.Name, r.Ours, r.Theirs, ratio, limit, r.Unit, r.verdict())
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
