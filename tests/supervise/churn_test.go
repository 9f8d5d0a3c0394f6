package supervise

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/status"
	"holdfast/tests/bed"
	"holdfast/tests/bed/wire"
	"holdfast/tests/qemu"
	"holdfast/tests/soak"
)

type qemuLine = qemu.Line

// endless is a restart limit that no service comes to.
const endless = "1000/1ms"

// holding is what PID 1 keeps while nothing happens.
type holding struct {
	wire.Usage
	Goroutines int
}

// atRest reads what PID 1 holds. The report is written 50 ms after what it
// tells of, and afresh for the driver's.
func atRest(b *bed.Bed) holding {
	r := b.Await(func(status.Report) bool { return true })
	return holding{b.Usage(1), r.Memory.InitGoroutines}
}

// rssSlack is what the memory of a program with a garbage collector may move
// by without growing, in KiB.
const rssSlack = 3 << 10

// threadSlack is how many threads more there may be: the runtime makes one when
// all others are in system calls, and keeps it. In 10,000 restarts it made two.
const threadSlack = 4

// flat wants that PID 1 holds no more than before.
func flat(t *testing.T, what string, before, after holding) {
	t.Helper()
	t.Logf("%s: PID 1 held %+v, then %+v", what, before, after)
	if after.RSSKiB > before.RSSKiB+rssSlack {
		t.Errorf("%s: PID 1 grew from %d to %d KiB", what, before.RSSKiB, after.RSSKiB)
	}
	if after.Files != before.Files {
		t.Errorf("%s: PID 1 had %d files open, then %d", what, before.Files, after.Files)
	}
	if after.Threads > before.Threads+threadSlack {
		t.Errorf("%s: PID 1 had %d threads, then %d", what, before.Threads, after.Threads)
	}
	if after.Goroutines != before.Goroutines {
		t.Errorf("%s: PID 1 had %d goroutines, then %d", what, before.Goroutines, after.Goroutines)
	}
}

// TestChurnLeavesNothing restarts services very often and compares what PID 1
// holds before and after.
func TestChurnLeavesNothing(t *testing.T) {
	t.Parallel()
	const number, warm, round = 10, 10, 30
	rounds := soak.Count(1, 33) // of 300 restarts
	services := map[string]*specs.Spec{}
	for n := range number {
		services[fmt.Sprint("count-", n)] = bed.Service(bed.Set{"backoff": "0s", "restart-limit": endless}, "count", strconv.Itoa(warm))
	}
	b := bed.Start(t, bed.Config{Services: services})
	r := counted(b, number, warm)
	before := atRest(b)
	for n := range rounds {
		limit := warm + (n+1)*round
		b.Write(wire.Dir+"/limit", strconv.Itoa(limit))
		for i := range number {
			b.Kill(bed.Find(r, fmt.Sprint("count-", i)).PID, syscall.SIGKILL)
		}
		r = counted(b, number, limit)
		t.Logf("%d restarts: PID 1 holds %+v", number*(limit-1), atRest(b))
	}
	flat(t, fmt.Sprint(rounds*round*number, " restarts"), before, atRest(b))
	noZombies(t, b)
	b.PowerOff()
	b.State().Clean()
}

// counted waits until every counting service has come to its limit and rests.
func counted(b *bed.Bed, number, limit int) status.Report {
	return b.Await(func(r status.Report) bool {
		for n := range number {
			s := bed.Find(r, fmt.Sprint("count-", n))
			if s.Status != fmt.Sprint("counted ", limit) || s.State != "ready" || s.Restarts != limit-1 {
				return false
			}
		}
		return true
	})
}

// TestEveryServiceComesBack kills each service in turn, the driver of the test
// included. What a service left behind on purpose lives on.
func TestEveryServiceComesBack(t *testing.T) {
	t.Parallel()
	set := func(more bed.Set) bed.Set {
		more["restart-limit"], more["backoff"] = endless, "10ms"
		return more
	}
	services := map[string]*specs.Spec{
		"notify":  bed.Service(set(bed.Set{"type": "notify", "watchdog": "30s"}), "serve"),
		"simple":  bed.Service(set(bed.Set{"requires": "notify"}), "serve"),
		"early":   bed.Service(set(bed.Set{"type": "notify", "early": "true", "requires": "simple"}), "serve"),
		"keeper":  bed.Service(set(bed.Set{"type": "notify", "stop": "main", "critical": "true"}), "keeper"),
		"helpers": bed.Service(set(bed.Set{"type": "notify"}), "helpers"),
	}
	names := []string{"notify", "simple", "early", "keeper", "helpers", "driver"}
	b := bed.Start(t, bed.Config{Services: services})
	b.Up(names...)
	kept := b.Read(wire.Dir + "/kept-keeper")
	killAll(b, names)
	before := atRest(b)
	for range soak.Count(3, 50) {
		killAll(b, names)
	}
	flat(t, "kills", before, atRest(b))
	inKeeper := map[string]bool{}
	for _, p := range b.Within("keeper") {
		inKeeper[strconv.Itoa(p.PID)] = true
	}
	if !inKeeper[kept] || len(inKeeper) != 2 {
		t.Errorf("in the keeper's group: %v, want its main process and %s, which it left behind", inKeeper, kept)
	}
	noZombies(t, b)
	b.PowerOff()
	b.State().Clean()
}

func killAll(b *bed.Bed, names []string) {
	for _, name := range names {
		old := b.AwaitService(name, bed.In("ready"))
		b.Kill(old.PID, syscall.SIGKILL)
		b.AwaitService(name, func(s status.Service) bool {
			return s.State == "ready" && s.PID != old.PID && s.Restarts == old.Restarts+1
		})
	}
}

// TestBackoffGrowsAndIsReset looks at the times between starts.
func TestBackoffGrowsAndIsReset(t *testing.T) {
	t.Parallel()
	const first = 400 * time.Millisecond
	b := bed.Start(t, bed.Config{Services: map[string]*specs.Spec{
		"count": bed.Service(bed.Set{"backoff": first.String(), "restart-limit": "50/4s"}, "count", "5"),
	}})
	pid := b.AwaitService("count", func(s status.Service) bool { return s.Status == "counted 5" && s.State == "ready" }).PID
	gaps := startGaps(b.Journal(), "count")
	if len(gaps) != 4 {
		t.Fatalf("gaps between starts: %v, want 4", gaps)
	}
	for n, gap := range gaps { // 400, 800, 1600, 3200 ms, each less up to a fifth
		if least := first << n * 4 / 5; gap < least {
			t.Errorf("restart %d came after %s, want at least %s", n+1, gap, least)
		}
	}
	// Stable for longer than the limit's window: the next failures start anew.
	stable := startOf(b.Journal(), "count", 4) + 5*time.Second
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for b.Uptime() < stable {
		<-tick.C
	}
	b.Write(wire.Dir+"/limit", "7")
	b.Kill(pid, syscall.SIGKILL)
	b.AwaitService("count", func(s status.Service) bool { return s.Status == "counted 7" })
	gaps = startGaps(b.Journal(), "count")
	if again := gaps[5]; again < first*2*4/5 || again >= gaps[3] {
		t.Errorf("the second restart after a stable time came after %s, want about %s, as at first", again, 2*first)
	}
	b.PowerOff()
}

func starts(journal []bed.Event, name string) (times []time.Duration) {
	for _, e := range journal {
		if e.Name == name && e.What == "start" {
			times = append(times, e.At)
		}
	}
	return times
}

func startOf(journal []bed.Event, name string, n int) time.Duration { return starts(journal, name)[n] }

func startGaps(journal []bed.Event, name string) (gaps []time.Duration) {
	all := starts(journal, name)
	for n := 1; n < len(all); n++ {
		gaps = append(gaps, all[n]-all[n-1])
	}
	return gaps
}
