package netd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"holdfast/services/nodeconfig"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// worker keeps one interface configured.
type worker struct {
	client  client
	config  nodeconfig.Interface
	file    string // where the lease is kept
	carrier <-chan bool
	updates chan<- update

	machine machine
	late    *time.Timer // ends when an address is overdue; nil: it is not awaited
	trouble string      // the last fault, so that it is told once
}

// update is what a worker tells the daemon.
type update struct {
	index int
	lease *Lease // the lease that it has now
	fault string // or something that went wrong
}

const (
	// patience is how long a node waits for an address before it says so.
	patience = 10 * time.Second
	// longestSleep bounds how far the clock of timers, which stands still while
	// a machine sleeps, can lag behind the time since boot.
	longestSleep = time.Minute
)

// run ends with ctx and leaves the interface as it is.
func (w *worker) run(ctx context.Context) {
	w.resume(ctx)
	for ctx.Err() == nil {
		do, until := w.machine.next(sinceBoot())
		switch {
		case !w.config.DHCP4:
			w.sleep(ctx, forever)
		case do == wait:
			w.sleep(ctx, until)
		case do == drop:
			w.giveUp(ctx, errors.New("lease has ended"))
			w.machine.ended()
		default:
			w.ask(ctx, do)
		}
	}
}

// resume begins where the last run stopped.
func (w *worker) resume(ctx context.Context) {
	w.check(ctx, fix(w.client.index, w.config))
	if !w.config.DHCP4 {
		return
	}
	l, err := remembered(w.file, w.client.mac.String(), sinceBoot())
	w.check(ctx, err)
	if l == nil {
		return
	}
	w.machine.lease = l
	w.check(ctx, bind(w.client.index, w.config.MTU > 0, nil, l, sinceBoot()))
	w.tell(ctx, update{lease: l})
}

// sleep waits for an event, but not beyond until.
func (w *worker) sleep(ctx context.Context, until time.Duration) {
	t := time.NewTimer(min(until-sinceBoot(), longestSleep))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case up := <-w.carrier:
		w.setCarrier(ctx, up)
	case <-w.overdue():
		w.tellLate(ctx)
	case <-t.C:
	}
}

// ask has one exchange with the servers; losing the carrier ends it.
func (w *worker) ask(ctx context.Context, do action) {
	exchange, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		message *dhcpv4.DHCPv4
		err     error
	}
	results := make(chan result, 1)
	client, lease := w.client, w.machine.lease
	go func() {
		m, err := client.exchange(exchange, do, lease)
		results <- result{m, err}
	}()
	for {
		select {
		case r := <-results:
			if ctx.Err() == nil {
				w.settle(ctx, do, r.message, r.err)
			}
			return
		case up := <-w.carrier:
			if w.setCarrier(ctx, up); !up {
				cancel()
				<-results
				return
			}
		case <-w.overdue():
			w.tellLate(ctx)
		}
	}
}

// settle draws the conclusions from an exchange.
func (w *worker) settle(ctx context.Context, asked action, m *dhcpv4.DHCPv4, err error) {
	now := sinceBoot()
	if err == nil && m.MessageType() == dhcpv4.MessageTypeNak {
		w.giveUp(ctx, errors.New("server refused the lease"))
		w.machine.refused(now, rand.Float64())
		return
	}
	var l *Lease
	if err == nil {
		l, err = leaseOf(m, now)
	}
	if err != nil {
		if !errors.Is(err, errSilent) {
			w.check(ctx, err)
		}
		w.machine.unanswered(asked, now, rand.Float64())
		return
	}
	before := w.machine.lease
	w.machine.granted(l)
	w.late, w.trouble = nil, ""
	w.check(ctx, errors.Join(bind(w.client.index, w.config.MTU > 0, before, l, now), save(w.file, l)))
	if before == nil || before.Address != l.Address {
		slog.Info("lease", "interface", w.client.name, "address", l.Address, "server", l.Server, "for", l.End-l.Start)
	}
	w.tell(ctx, update{lease: l})
}

// giveUp takes the address away.
func (w *worker) giveUp(ctx context.Context, why error) {
	l := w.machine.lease
	if l == nil {
		return
	}
	slog.Warn("address given up", "interface", w.client.name, "address", l.Address, "reason", why)
	err := os.Remove(w.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	w.check(ctx, errors.Join(unbind(w.client.index, l), err))
	w.tell(ctx, update{fault: fmt.Sprintf("%s: address %s given up: %v", w.client.name, l.Address.Addr(), why)})
	w.tell(ctx, update{})
}

func (w *worker) setCarrier(ctx context.Context, up bool) {
	if !w.machine.setCarrier(up) {
		return
	}
	w.late = nil
	if up { // routes are lost when a link goes down
		w.check(ctx, fix(w.client.index, w.config))
	}
}

// overdue fires once when an address has been awaited for too long.
func (w *worker) overdue() <-chan time.Time {
	if !w.config.DHCP4 || w.machine.lease != nil || !w.machine.carrier {
		return nil
	}
	if w.late == nil {
		w.late = time.NewTimer(patience)
	}
	return w.late.C
}

func (w *worker) tellLate(ctx context.Context) {
	w.tell(ctx, update{fault: fmt.Sprintf("%s: no DHCP answer within %s", w.client.name, patience)})
}

// check tells of an error, unless it is the one that was told before.
func (w *worker) check(ctx context.Context, err error) {
	if err == nil || err.Error() == w.trouble {
		return
	}
	w.trouble = err.Error()
	w.tell(ctx, update{fault: w.client.name + ": " + w.trouble})
}

func (w *worker) tell(ctx context.Context, u update) {
	u.index = w.client.index
	select {
	case w.updates <- u:
	case <-ctx.Done():
	}
}
