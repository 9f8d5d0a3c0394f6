package timed

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/init/floor"
	"holdfast/init/spec"
	"holdfast/kernel/clock"
	"holdfast/kernel/ptp"
	"holdfast/services/nodeconfig"
	"holdfast/services/notify"
	"holdfast/services/timed/ntp"
	"holdfast/services/timed/ntptest"
)

func TestSpecIsHonoured(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("timed", data); err != nil {
		t.Error(err)
	}
}

// shifted is a clock that differs from the machine's by what was added to it;
// nothing here sets the machine's own. It slews at once.
type shifted struct {
	mu     sync.Mutex
	by     time.Duration
	steps  int
	slews  int
	synced bool
	last   clock.Quality
}

func (s *shifted) At(t time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.Add(s.by)
}

func (s *shifted) Step(offset time.Duration, q clock.Quality) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by, s.steps, s.last = s.by+offset, s.steps+1, q
	return nil
}

func (s *shifted) Slew(l clock.Loop, q clock.Quality) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by, s.slews, s.last = s.by+l.Offset, s.slews+1, q
	return nil
}

func (s *shifted) Synced() (bool, error) { return s.synced, nil }

// bench is a daemon with a clock, a supervisor and files of its own.
type bench struct {
	*daemon
	t     *testing.T
	clock *shifted
	said  chan string
}

func newBench(t *testing.T, port uint16, names ...string) *bench {
	dir := t.TempDir()
	said := listen(t, filepath.Join(dir, "notify"))
	k := &shifted{}
	d := newDaemon(dir, filepath.Join(dir, "last"), built, k, notify.At(filepath.Join(dir, "notify")))
	d.client.port = port
	b := &bench{d, t, k, said}
	b.put("timed/time.json", nodeconfig.Time{Servers: names, PTP: true})
	b.put("netd/time/dhcp.json", nil)
	d.config.Servers = names
	d.learn()
	return b
}

// listen hands on what a daemon tells its supervisor.
func listen(t *testing.T, path string) chan string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	said := make(chan string, 64)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			said <- string(buf[:n])
		}
	}()
	return said
}

func (b *bench) put(name string, v any) {
	b.t.Helper()
	data, err := json.Marshal(v)
	path := filepath.Join(b.dir, name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// hears waits for a message with that text.
func (b *bench) hears(want string) {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case got := <-b.said:
			if strings.Contains(got, want) {
				return
			}
		case <-deadline:
			b.t.Fatalf("the supervisor never heard %q", want)
		}
	}
}

// heard is all that was said so far.
func (b *bench) heard() (all []string) {
	for {
		select {
		case s := <-b.said:
			all = append(all, s)
		case <-time.After(100 * time.Millisecond): // datagrams on one machine; their reader only has to run
			return all
		}
	}
}

func (b *bench) right(truth time.Duration) {
	b.t.Helper()
	if off := abs(b.clock.At(noon).Sub(noon) - truth); off > 200*time.Millisecond { // the machine may be busy
		b.t.Errorf("the clock is wrong by %s", off)
	}
}

var kissed = func(code string) func(*ntp.Packet) {
	return func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, [4]byte([]byte(code)) }
}

// TestMixedServers: of two honest servers, one far away, one that lies, one
// that is silent and one that wants not to be asked, only the truth counts.
func TestMixedServers(t *testing.T) {
	const truth = 26 * time.Hour
	all, port := servers(t,
		ntptest.Behaviour{Now: ahead(truth)},
		ntptest.Behaviour{Now: ahead(truth + time.Millisecond)},
		ntptest.Behaviour{Now: ahead(truth), Delay: 400 * time.Millisecond},
		ntptest.Behaviour{Now: ahead(truth + time.Hour)},
		ntptest.Behaviour{},
		ntptest.Behaviour{Now: ahead(truth), Change: kissed("DENY")},
		ntptest.Behaviour{Now: ahead(truth), Change: kissed("RATE")},
	)
	b := newBench(t, port, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7")
	b.round(t.Context())
	b.right(truth)
	if b.clock.steps != 1 || b.clock.last.MaxError <= 0 {
		t.Errorf("%d steps, quality %+v", b.clock.steps, b.clock.last)
	}
	last, err := floor.Last(b.lastFile, built)
	if err != nil || abs(last.Sub(b.now())) > time.Minute {
		t.Errorf("last known time %v, %v, want now", last, err)
	}
	for range 2 {
		b.round(t.Context())
	}
	b.right(truth)
	if b.clock.steps != 1 || b.clock.slews != 2 {
		t.Errorf("%d steps, %d slews, want 1 and 2", b.clock.steps, b.clock.slews)
	}
	for i, want := range []int{3, 3, 3, 3, 3, 1, 1} {
		if got := all[i].Requests(); got != want {
			t.Errorf("server %d was asked %d times, want %d", i+1, got, want)
		}
	}
	heard := strings.Join(b.heard(), "\n")
	for _, want := range []string{
		"STATUS=synchronised to 127.0.0.1, 127.0.0.2, 127.0.0.3", "X_FAULT=server 127.0.0.6 refuses to be asked: server answers with a kiss: DENY",
		"X_FAULT=server 127.0.0.4 has another time than the others, by ",
	} {
		if strings.Count(heard, want) < 1 {
			t.Errorf("not heard: %q in %q", want, heard)
		}
	}
	if n := strings.Count(heard, "X_FAULT"); n != 2 {
		t.Errorf("%d faults, want 2: %q", n, heard)
	}
}

// TestLiarsAlone: a server that lies does not move the clock, whoever is silent.
func TestLiarsAlone(t *testing.T) {
	for name, behave := range map[string][]ntptest.Behaviour{
		"the others are silent":  {{Now: ahead(time.Hour)}, {}, {}},
		"one other is silent":    {{Now: ahead(time.Hour)}, {}, {Now: ahead(0)}},
		"one against one":        {{Now: ahead(time.Hour)}, {Now: ahead(0)}},
		"all say something else": {{Now: ahead(time.Hour)}, {Now: ahead(-time.Hour)}, {Now: ahead(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, port := servers(t, behave...)
			var names []string
			for i := range behave {
				names = append(names, local(i+1).String())
			}
			b := newBench(t, port, names...)
			b.round(t.Context())
			if b.clock.steps+b.clock.slews > 0 || b.discipline.synced || !strings.Contains(b.status, "not synchronised: ") {
				t.Errorf("the clock was moved by %s; %s", b.clock.by, b.status)
			}
		})
	}
}

// TestOneVoice: names of one and the same server are no majority.
func TestOneVoice(t *testing.T) {
	_, port := servers(t, ntptest.Behaviour{Now: ahead(time.Hour)}, ntptest.Behaviour{Now: ahead(0)})
	b := newBench(t, port, "127.0.0.1", "localhost", "127.0.0.2", "127.0.0.1")
	if len(b.peers) != 3 {
		t.Errorf("%d servers, want 3", len(b.peers))
	}
	b.peers[1].addresses = b.peers[1].addresses[:0]
	b.round(t.Context())
	if b.clock.steps+b.clock.slews > 0 {
		t.Errorf("the clock was moved by %s", b.clock.by)
	}
}

// TestStaysRight: a clock that the last run left synchronised is not stepped.
func TestStaysRight(t *testing.T) {
	_, port := servers(t, ntptest.Behaviour{Now: ahead(300 * time.Millisecond)})
	b := newBench(t, port, "127.0.0.1")
	b.clock.synced = true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.run(ctx) }()
	b.hears("READY=1")
	b.hears("STATUS=synchronised to 127.0.0.1")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if b.clock.steps != 0 || b.clock.slews != 1 {
		t.Errorf("%d steps, %d slews", b.clock.steps, b.clock.slews)
	}
}

// TestJumpAgain: a synchronised clock that went wrong is set after four rounds, and that is a fault.
func TestJumpAgain(t *testing.T) {
	all, port := servers(t, ntptest.Behaviour{Now: ahead(0)})
	b := newBench(t, port, "127.0.0.1")
	b.round(t.Context())
	all[0].Behave(ntptest.Behaviour{Now: ahead(time.Hour)})
	for range jumpRounds - 1 {
		b.round(t.Context())
	}
	b.right(0)
	b.round(t.Context())
	b.right(time.Hour)
	b.hears("X_FAULT=clock had been synchronised and was wrong by 1h0m0")
}

// TestServersOfDHCP: servers that netd learns are asked as soon as it knows them.
func TestServersOfDHCP(t *testing.T) {
	_, port := servers(t, ntptest.Behaviour{Now: ahead(time.Hour)})
	b := newBench(t, port)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.run(ctx) }()
	b.hears("READY=1")
	b.hears("STATUS=no time source is configured")
	b.put("netd/time/dhcp.json", []string{"127.0.0.1"})
	b.hears("STATUS=synchronised to 127.0.0.1")
	b.put("netd/time/dhcp.json", []string{})
	b.hears("STATUS=no time source is configured")
	b.put("netd/time/dhcp.json", "nonsense")
	b.hears("X_FAULT=read ")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.right(time.Hour)
	if _, err := os.Stat(b.lastFile); err != nil {
		t.Error(err)
	}
}

// TestConfiguredServersWin also checks that what was never synchronised leaves no last known time.
func TestConfiguredServersWin(t *testing.T) {
	b := newBench(t, 1, "127.0.0.9")
	b.put("netd/time/dhcp.json", []string{"127.0.0.1"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.run(ctx) }()
	b.hears("STATUS=not synchronised: no server answers: 127.0.0.9: connection refused")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.lastFile); err == nil {
		t.Error("a clock that nobody confirmed is the last known time")
	}
}

// TestLate: a fault is told once for each time that there is no time for long.
func TestLate(t *testing.T) {
	all, port := servers(t, ntptest.Behaviour{Now: ahead(0)})
	b := newBench(t, port, "127.0.0.1")
	all[0].Close()
	b.round(t.Context())
	if n := len(b.told); n != 0 {
		t.Errorf("%d faults at once", n)
	}
	b.good = time.Now().Add(-lateAtBoot - time.Second)
	b.round(t.Context())
	b.round(t.Context())
	b.hears("X_FAULT=no time for 2m0s: no server answers: 127.0.0.1: ")
	if n := len(b.told); n != 1 {
		t.Errorf("%d faults, want 1", n)
	}
}

func TestHypervisorFirst(t *testing.T) {
	all, port := servers(t, ntptest.Behaviour{Now: ahead(time.Hour)})
	b := newBench(t, port, "127.0.0.1")
	var fails error
	off := 2 * time.Hour
	b.host = &hypervisor{ptp.KVM, func() (ptp.Reading, error) {
		now := time.Now()
		return ptp.Reading{Device: now.Round(0).Add(off), System: now, Window: time.Microsecond}, fails
	}}
	b.round(t.Context())
	b.right(2 * time.Hour)
	if n := all[0].Requests(); n != 0 || !strings.Contains(b.status, ptp.KVM) || b.discipline.poll != minPTP {
		t.Errorf("%d requests, %s, poll 2^%d s", n, b.status, b.discipline.poll)
	}
	fails = errors.New("is stale")
	b.discipline = discipline{}
	b.round(t.Context())
	b.right(time.Hour)
	fails, off = nil, -50*365*24*time.Hour
	b.discipline = discipline{}
	b.round(t.Context())
	b.right(time.Hour)
	heard := b.heard()
	for _, want := range []string{"X_FAULT=KVM virtual PTP: is stale", "X_FAULT=KVM virtual PTP: it is before this release was built"} {
		if !slices.Contains(heard, want) {
			t.Errorf("not heard: %q in %q", want, heard)
		}
	}
}

func TestOpenHost(t *testing.T) {
	b := newBench(t, 1)
	dir := t.TempDir()
	if b.openHost(dir); b.host != nil || len(b.told) > 0 {
		t.Errorf("%+v of an empty directory, %v", b.host, b.told)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, ptp.HyperV)); err != nil {
		t.Fatal(err)
	}
	if b.openHost(dir); b.host == nil || b.host.name != ptp.HyperV {
		t.Fatalf("%+v", b.host)
	}
	if _, err := b.host.sample(b.clock); err == nil {
		t.Error("/dev/null has a time")
	}
	b.openHost(filepath.Join(dir, "none"))
	b.hears("X_FAULT=open ")
}

func TestTooManyServers(t *testing.T) {
	var names []string
	for i := range maxServers + 3 {
		names = append(names, local(i+1).String())
	}
	b := newBench(t, 1, names...)
	if len(b.peers) != maxServers {
		t.Errorf("%d servers are asked", len(b.peers))
	}
	b.hears("X_FAULT=time.servers: 13 are given, the first 10 are asked")
}
