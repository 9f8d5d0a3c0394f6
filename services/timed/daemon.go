package timed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/init/floor"
	"holdfast/kernel/inotify"
	"holdfast/kernel/ptp"
	"holdfast/services/nodeconfig"
	"holdfast/services/notify"
	"holdfast/services/timed/ntp"
)

type daemon struct {
	dir, lastFile string
	clock         timekeeper
	client        client
	supervisor    notify.Socket

	config     nodeconfig.Time
	host       *hypervisor // nil: none
	peers      []*peer
	discipline discipline

	good   time.Time // of the last round with an estimate; before it, of the start
	kept   time.Time // when the last known time was kept
	late   bool      // that there is no time has been told
	status string
	told   map[string]bool // faults
}

func newDaemon(dir, lastFile string, built time.Time, k timekeeper, s notify.Socket) *daemon {
	return &daemon{
		dir: dir, lastFile: lastFile, clock: k, supervisor: s, good: time.Now(), told: map[string]bool{},
		client: client{port: ntp.Port, built: built, clock: k.At},
		config: nodeconfig.Time{PTP: true},
	}
}

// openHost opens the hypervisor's clock that PID 1 has lent, if there is one.
func (d *daemon) openHost(dir string) {
	devices, err := os.ReadDir(dir)
	if err == nil && len(devices) == 0 {
		return
	}
	var c *ptp.Clock
	if err == nil {
		c, err = ptp.Open(filepath.Join(dir, devices[0].Name()))
	}
	if err != nil {
		d.fault("%v", err)
		return
	}
	d.host = &hypervisor{devices[0].Name(), c.Read}
}

func (d *daemon) run(ctx context.Context) error {
	if err := load(filepath.Join(d.dir, "timed/time.json"), &d.config); err != nil {
		d.fault("%v", err)
	}
	if !d.config.PTP {
		d.host = nil
	}
	synced, err := d.clock.Synced()
	if err != nil {
		return err
	}
	d.discipline.synced = synced
	changed := d.watch(ctx)
	d.learn()
	if err := d.supervisor.Ready(); err != nil {
		slog.Warn("not told", "error", err)
	}
	d.loop(ctx, changed)
	return d.keep(0)
}

// loop has a round, sleeps, and so on.
func (d *daemon) loop(ctx context.Context, changed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			d.learn()
			timer.Reset(0)
		case <-timer.C:
			if d.host == nil && len(d.peers) == 0 {
				d.say("no time source is configured; the clock is the machine's own")
				continue // until one is learnt
			}
			d.round(ctx)
			timer.Reset(d.discipline.wait(rand.Float64()))
		}
	}
}

// watch tells when netd has learnt other servers.
func (d *daemon) watch(ctx context.Context) <-chan struct{} {
	w, err := inotify.Directory(filepath.Join(d.dir, "netd/time"))
	if err != nil {
		d.fault("%v", err)
		return nil
	}
	context.AfterFunc(ctx, func() { w.Close() })
	changed := make(chan struct{}, 1)
	go func() {
		for w.Next() == nil {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed
}

// maxServers bounds how many are asked.
const maxServers = 10

// learn makes the list of servers: those configured, or else those of DHCP. A
// server that stays keeps what is known of it.
func (d *daemon) learn() {
	names := d.config.Servers
	if len(names) == 0 {
		var learnt []netip.Addr
		if err := load(filepath.Join(d.dir, "netd/time/dhcp.json"), &learnt); err != nil {
			d.fault("%v", err)
		}
		for _, a := range learnt {
			names = append(names, a.String())
		}
	}
	if len(names) > maxServers {
		d.fault("time.servers: %d are given, the first %d are asked", len(names), maxServers)
		names = names[:maxServers]
	}
	var peers []*peer
	for _, name := range names {
		is := func(p *peer) bool { return p.name == name }
		switch i := slices.IndexFunc(d.peers, is); {
		case slices.ContainsFunc(peers, is):
		case i >= 0:
			peers = append(peers, d.peers[i])
		default:
			peers = append(peers, &peer{name: name})
		}
	}
	d.peers = peers
}

// round measures and corrects.
func (d *daemon) round(ctx context.Context) {
	e, host, err := d.measure(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		d.discipline.miss()
		d.missing(err)
		return
	case e.late: // the next round is better
		d.discipline.miss()
		return
	}
	d.good, d.late = time.Now(), false
	before := d.discipline.synced
	c := d.discipline.hear(e, host, d.now())
	if err := d.correct(c, before); err != nil {
		d.fault("%v", err)
		return
	}
	if d.discipline.synced {
		d.say("synchronised to %s", strings.Join(e.sources, ", "))
	}
	d.doubt(e)
}

func (d *daemon) now() time.Time { return d.clock.At(time.Now()) }

// measure prefers the hypervisor's clock: it is nearer than any server.
func (d *daemon) measure(ctx context.Context) (e estimate, host bool, err error) {
	if d.host != nil {
		e, err := d.host.sample(d.clock)
		if err == nil && !d.now().Add(e.offset).Before(d.client.built) {
			return e, true, nil
		}
		if err == nil {
			err = errors.New("it is before this release was built")
		}
		d.fault("%s: %v", d.host.name, err)
		if len(d.peers) == 0 {
			return estimate{}, false, err
		}
	}
	samples, err := d.ask(ctx)
	if err != nil {
		return estimate{}, false, err
	}
	e, err = agree(samples, need(d.configured()), d.discipline.synced)
	return e, false, err
}

// configured counts the servers that have not sent us away.
func (d *daemon) configured() (n int) {
	for _, p := range d.peers {
		if !p.gone {
			n++
		}
	}
	return n
}

// ask asks all servers at once. The error says why there is no sample.
func (d *daemon) ask(ctx context.Context) ([]sample, error) {
	type answer struct {
		sample sample
		err    error
	}
	var asked []*peer
	for _, p := range d.peers {
		if !p.gone && !time.Now().Before(p.quiet) {
			asked = append(asked, p)
		}
	}
	answers := make([]answer, len(asked))
	var wait sync.WaitGroup
	for i, p := range asked {
		wait.Go(func() { answers[i].sample, answers[i].err = p.ask(ctx, &d.client) })
	}
	wait.Wait()
	var samples []sample
	why := errNoAnswer
	for i, p := range asked {
		a := answers[i]
		p.heard(&a.sample, a.err, time.Now())
		if p.gone {
			d.fault("server %s refuses to be asked: %v", p.name, a.err)
		}
		if a.err != nil {
			why = fmt.Errorf("%w: %s: %w", errNoAnswer, p.name, a.err)
			continue
		}
		twice := slices.ContainsFunc(samples, func(s sample) bool { return s.address == a.sample.address })
		if !twice { // one server has one voice
			samples = append(samples, a.sample)
		}
	}
	if len(samples) == 0 {
		return nil, why
	}
	return samples, nil
}

// correct carries a correction out.
func (d *daemon) correct(c correction, before bool) error {
	switch c.do {
	case hold:
		slog.Warn("offset is not believed yet", "offset", c.offset)
		return nil
	case step:
		from := d.now()
		if err := d.clock.Step(c.offset, c.quality); err != nil {
			return err
		}
		slog.Info("clock set", "from", from.UTC(), "offset", c.offset)
		if before {
			d.fault("clock had been synchronised and was wrong by %s all the same; it was set anew", c.offset.Round(time.Millisecond))
		}
		d.kept = time.Time{}
	case slew:
		if err := d.clock.Slew(c.loop, c.quality); err != nil {
			return err
		}
	}
	return d.keep(keepEvery)
}

// keepEvery bounds how often the state volume is written to.
const keepEvery = 10 * time.Minute

// keep makes now the last known time, unless that was done within every.
func (d *daemon) keep(every time.Duration) error {
	if !d.discipline.synced || !d.kept.IsZero() && time.Since(d.kept) < every {
		return nil
	}
	d.kept = time.Now()
	return floor.Keep(d.lastFile, d.now())
}

// Without an estimate for so long, something is wrong.
const (
	lateAtBoot = 2 * time.Minute
	lateAfter  = time.Hour
)

// missing says that there is no time, and after a while that it is a fault.
func (d *daemon) missing(why error) {
	limit := lateAtBoot
	if d.discipline.synced {
		limit = lateAfter
		d.say("runs free: %v", why)
	} else {
		d.say("not synchronised: %v", why)
	}
	if since := time.Since(d.good); since > limit && !d.late {
		d.late = true
		d.fault("no time for %s: %v", since.Round(time.Minute), why)
	}
}

// doubt tells of servers that have been wrong for several rounds.
func (d *daemon) doubt(e estimate) {
	for _, p := range d.peers {
		i := slices.IndexFunc(e.liars, func(s sample) bool { return s.source == p.name })
		if i < 0 {
			p.lies = 0
			continue
		}
		if p.lies++; p.lies == liesToTell {
			d.fault("server %s has another time than the others, by %s; it is left out",
				p.name, (e.liars[i].offset - e.offset).Round(time.Millisecond))
		}
	}
}

// say replaces the status, if it is another one: each costs PID 1 a report.
func (d *daemon) say(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if s == d.status {
		return
	}
	d.status = s
	slog.Info("status", "text", s)
	if err := d.supervisor.Status("%s", s); err != nil {
		slog.Warn("not told", "error", err)
	}
}

// maxTold bounds how many faults are told in a life.
const maxTold = 32

func (d *daemon) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if d.told[text] || len(d.told) >= maxTold {
		return
	}
	d.told[text] = true
	slog.Warn("fault", "text", text)
	if err := d.supervisor.Fault("%s", text); err != nil {
		slog.Warn("not told", "error", err)
	}
}

// load reads a JSON file; a missing one leaves v as it is.
func load(path string, v any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
