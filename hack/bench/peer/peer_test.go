package peer

import (
	"strings"
	"testing"

	"holdfast/hack/bench/sample"
)

// guests makes what one side measured, each figure a multiple of n.
func guests(n float64) [][]sample.Guest {
	boot := func(services int64) []sample.Guest {
		kib := int64(n) * (1000 + 10*services)
		return []sample.Guest{{
			Memory:  sample.Memory{RSS: kib, Anon: kib / 2, File: kib / 2, PSS: kib, Private: kib},
			Idle:    sample.Idle{Seconds: 60, Switches: 4 * int64(n), Wakes: 2 * int(n)},
			StartUs: []float64{9000, 1000 * n, 100}, RestartUs: []float64{2000 * n}, StopUs: []float64{3000 * n}, GoneUs: []float64{2500 * n},
		}}
	}
	return [][]sample.Guest{boot(0), boot(20), boot(220), boot(100)}
}

func TestRows(t *testing.T) {
	got := Render(rows(guests(1), guests(2)))
	want := `PID 1, beside a peer                            holdfast  systemd 257   ratio   limit
PID 1, 20 services: resident                        1.23         2.46    0.50          MB  ahead
PID 1, 20 services: proportional (PSS)              1.23         2.46    0.50          MB  ahead
PID 1, 20 services: private                         1.23         2.46    0.50          MB  ahead
  of the resident, its own (anonymous)              0.61         1.23    0.50          MB
  of the resident, of files                         0.61         1.23    0.50          MB
request to first instruction of a service           1.00         2.00    0.50          ms  ahead
exit to restart, no backoff                         2.00         4.00    0.50          ms  ahead
stop 100 services                                   3.00         6.00    0.50          ms  ahead
  until their processes are gone                    2.50         5.00    0.50          ms
PID 1, resident for each idle service              10.00        20.00    0.50      64  KiB ok
wake-ups, each watchdog interval                    1.00         2.00    0.50       1      ok
  context switches, each watchdog interval          2.00         4.00    0.50
`
	if got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
}

func TestOK(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want bool
	}{
		{Row{Ours: 1, Theirs: 2}, true},
		{Row{Ours: 2, Theirs: 2}, false},
		{Row{Ours: 3, Theirs: 2}, false},
		{Row{Ours: 3, Theirs: 2, Aside: true}, true},
		{Row{Ours: 3, Theirs: 2, Aside: true, Limit: 3}, true},
		{Row{Ours: 3, Theirs: 2, Aside: true, Limit: 2}, false},
		{Row{Ours: 3, Theirs: 4, Limit: 2}, false},
	} {
		if got := c.row.OK(); got != c.want {
			t.Errorf("%+v: %v", c.row, got)
		}
	}
}

func TestUnits(t *testing.T) {
	idle := units(scenario{services: 2})
	if len(idle) != 5 || strings.Contains(idle["bench.target"], sample.Flap) {
		t.Errorf("two services: %d units, %s", len(idle), idle["bench.target"])
	}
	acting := units(scenario{services: 2, rounds: 1})
	if want := "ExecStart=/usr/bin/trivial f " + sample.FlapRecords + " " + sample.FlapGo + "\nRestart=always\nRestartSec=0\n"; !strings.Contains(acting["flap.service"], want) {
		t.Errorf("the service that restarts: %s", acting["flap.service"])
	}
	for name := range acting {
		if name != "bench.target" && !strings.Contains(acting["bench.target"], "Wants="+name+"\nAfter="+name+"\n") {
			t.Errorf("the target does not keep %s", name)
		}
	}
}
