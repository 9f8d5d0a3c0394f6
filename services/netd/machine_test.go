package netd

import (
	"bufio"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// Each line of a dialogue is "time event"; what follows => is what the machine
// does next. Jitter is in the middle: pauses are 1 s, 2 s, 4 s, …
func TestDialogue(t *testing.T) {
	const file = "testdata/dialogue.txt"
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m machine
	var asked action
	var got strings.Builder
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), " =>")
		if line == "" || line[0] == '#' {
			m, asked = machine{}, wait
			fmt.Fprintln(&got, line)
			continue
		}
		fmt.Fprintf(&got, "%s => %s\n", line, play(t, &m, &asked, line))
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got.String() != string(want) {
		t.Errorf("got:\n%s", got.String())
	}
}

func play(t *testing.T, m *machine, asked *action, line string) string {
	f := strings.Fields(line)
	now, err := time.ParseDuration(f[0])
	if err != nil || len(f) < 2 {
		t.Fatalf("%s: %v", line, err)
	}
	switch f[1] {
	case "up", "down":
		m.setCarrier(f[1] == "up")
	case "ack":
		m.granted(testLease(now, 800*time.Second))
	case "short-ack":
		m.granted(testLease(now, 40*time.Second))
	case "remembered":
		m.lease = testLease(now, 800*time.Second)
	case "nak":
		m.refused(now, 0.5)
	case "silence":
		m.unanswered(*asked, now, 0.5)
	case "dropped":
		m.ended()
	case "tick":
	default:
		t.Fatalf("unknown event in %q", line)
	}
	do, until := m.next(now)
	*asked = do
	switch {
	case do == wait && until == forever:
		return "wait"
	case do == wait:
		return fmt.Sprintf("wait until %v", until)
	}
	return string(do)
}

func testLease(now, length time.Duration) *Lease {
	return &Lease{
		Address: netip.MustParsePrefix("192.0.2.50/24"), Server: netip.MustParseAddr("192.0.2.1"),
		Start: now, Renew: now + length/2, Rebind: now + length/8*7, End: now + length,
	}
}

// Whatever happens, the machine asks at most once a second on average and
// always has something to do or a moment to wake up.
func TestNeverBusy(t *testing.T) {
	for name, answer := range map[string]func(m *machine, asked action, now time.Duration){
		"silence": func(m *machine, asked action, now time.Duration) { m.unanswered(asked, now, 0) },
		"nak":     func(m *machine, _ action, now time.Duration) { m.refused(now, 0) },
		"ack once": func(m *machine, asked action, now time.Duration) {
			if now < time.Minute {
				m.granted(testLease(now, shortest))
			} else {
				m.unanswered(asked, now, 0)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine{carrier: true}
			now, asked := time.Duration(0), 0
			for now < time.Hour {
				switch do, until := m.next(now); do {
				case wait:
					if until <= now {
						t.Fatalf("at %v waits until %v", now, until)
					}
					now = until
				case drop:
					m.ended()
				default:
					asked++
					answer(&m, do, now)
				}
			}
			if asked > 200 || asked < 40 {
				t.Errorf("asked %d times in an hour", asked)
			}
		})
	}
}
