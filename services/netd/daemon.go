package netd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/services/nodeconfig"
	"holdfast/services/notify"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Run is the daemon; it ends with ctx or when the kernel no longer tells it
// about links, and then a restart begins with a fresh look.
func Run(ctx context.Context) error {
	return newDaemon(Dir, "/proc/sys/net", notify.FromEnvironment()).run(ctx)
}

type daemon struct {
	dir, sysctl string
	supervisor  notify.Socket

	network nodeconfig.Network
	owned   map[int]*owned
	updates chan update
	status  string
	resolv  []byte
	ntp     []netip.Addr
	settled bool // the machine's interfaces have appeared
	workers sync.WaitGroup
}

// owned is one of our interfaces.
type owned struct {
	name, mac string
	config    nodeconfig.Interface
	up        bool
	carrier   chan bool
	stop      context.CancelFunc
	lease     *Lease
	learnt    learnt
}

func newDaemon(dir, sysctl string, supervisor notify.Socket) *daemon {
	return &daemon{
		dir: dir, sysctl: sysctl, supervisor: supervisor,
		owned: map[int]*owned{}, updates: make(chan update),
	}
}

func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer d.workers.Wait()
	defer cancel()
	if err := load(filepath.Join(d.dir, "network.json"), &d.network); err != nil {
		d.fault(err.Error()) // every interface gets DHCP
		d.network = nodeconfig.Network{}
	}
	if err := raise("lo"); err != nil {
		return err
	}
	if err := d.firstResolv(); err != nil {
		return err
	}
	adverts := make(chan advert)
	s, err := watchAdverts(adverts, ctx.Done())
	if err != nil {
		return err
	}
	defer s.Close()
	links := make(chan netlink.LinkUpdate)
	err = netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: 1 << 20, ReceiveBufferForceSize: true, // CNI makes links in bursts
		ErrorCallback: func(err error) {
			if ctx.Err() == nil { // else it is we who closed it
				slog.Warn("link updates", "error", err)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := d.supervisor.Ready(); err != nil {
		slog.Warn("not told", "error", err)
	}
	return d.loop(ctx, links, adverts)
}

// firstResolv makes resolv.conf, which kubelet wants at once, unless the last
// run has left one.
func (d *daemon) firstResolv() (err error) {
	d.resolv, err = os.ReadFile(d.path("resolv.conf"))
	if err == nil {
		return load(d.path("time/dhcp.json"), &d.ntp)
	}
	if err := save(d.path("time/dhcp.json"), d.ntp); err != nil { // timed watches its directory
		return err
	}
	d.resolv = resolvConf(d.network, nil, nil)
	return replace(d.path("resolv.conf"), d.resolv)
}

// settling is when the interfaces of a machine have appeared, if it has any.
const settling = 5 * time.Second

func (d *daemon) loop(ctx context.Context, links <-chan netlink.LinkUpdate, adverts <-chan advert) error {
	look := time.NewTimer(settling)
	defer look.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			go drain(links) // the subscription ends only when it can send
			return nil
		case u, ok := <-links:
			if !ok {
				return errors.New("watch links: subscription has ended")
			}
			d.link(ctx, u)
		case u := <-d.updates:
			d.update(u)
		case a, ok := <-adverts:
			if !ok {
				return errors.New("watch router advertisements: subscription has ended")
			}
			d.advert(a)
		case <-minute.C:
			d.remember()
		case <-look.C:
			d.settled = true
			d.lookAround()
		}
		d.publish()
	}
}

func drain(links <-chan netlink.LinkUpdate) {
	for range links {
	}
}

// link takes note of a link that came, went or changed.
func (d *daemon) link(ctx context.Context, u netlink.LinkUpdate) {
	a := u.Link.Attrs()
	o := d.owned[a.Index]
	config, ours := configFor(u.Link, d.network)
	gone := u.Header.Type == unix.RTM_DELLINK
	switch {
	case o != nil && (gone || !ours):
		o.stop()
		delete(d.owned, a.Index)
	case o != nil:
		d.setCarrier(o, hasCarrier(a))
	case ours && !gone && !d.isTwin(a):
		d.adopt(ctx, a, config)
	}
}

// isTwin reports whether another interface of ours has the MAC address: the
// virtual function of a Hyper-V network device appears beside its master for a
// moment before it is enslaved.
func (d *daemon) isTwin(a *netlink.LinkAttrs) bool {
	for _, o := range d.owned {
		if o.mac == a.HardwareAddr.String() {
			return true
		}
	}
	return false
}

func (d *daemon) adopt(ctx context.Context, a *netlink.LinkAttrs, config nodeconfig.Interface) {
	if err := errors.Join(prepare(d.sysctl, a.Name, config.IPv6), raise(a.Name)); err != nil {
		d.fault(fmt.Sprintf("%s: %v", a.Name, err))
	}
	ctx, stop := context.WithCancel(ctx)
	o := &owned{name: a.Name, mac: a.HardwareAddr.String(), config: config, carrier: make(chan bool, 1), stop: stop}
	var all map[string]learnt
	if err := load(d.path("rdnss.json"), &all); err != nil {
		d.fault(err.Error())
	}
	o.learnt = all[a.Name]
	o.learnt.expire(sinceBoot())
	d.owned[a.Index] = o
	w := &worker{
		client:  client{index: a.Index, name: a.Name, mac: a.HardwareAddr},
		config:  config,
		file:    d.path("leases/" + a.Name + ".json"),
		carrier: o.carrier,
		updates: d.updates,
	}
	d.workers.Go(func() { w.run(ctx) })
	d.setCarrier(o, hasCarrier(a))
}

// setCarrier replaces what the worker has not yet read.
func (d *daemon) setCarrier(o *owned, up bool) {
	o.up = up
	select {
	case <-o.carrier:
	default:
	}
	o.carrier <- up
}

func (d *daemon) update(u update) {
	if u.fault != "" {
		d.fault(u.fault)
		return
	}
	if o := d.owned[u.index]; o != nil {
		o.lease = u.lease
	}
}

func (d *daemon) advert(a advert) {
	o := d.owned[a.index]
	if o != nil && o.config.IPv6 == nodeconfig.RA && o.learnt.hear(a, sinceBoot()) {
		d.remember()
	}
}

// remember keeps what advertisements have told for the next start.
func (d *daemon) remember() {
	all := map[string]learnt{}
	for _, o := range d.owned {
		o.learnt.expire(sinceBoot())
		all[o.name] = o.learnt
	}
	if err := save(d.path("rdnss.json"), all); err != nil {
		d.fault(err.Error())
	}
}

// lookAround says what is missing once the machine's interfaces should be there.
func (d *daemon) lookAround() {
	if len(d.owned) == 0 {
		d.fault("no network interface")
	}
	for _, c := range d.network.Interfaces {
		if !slices.ContainsFunc(d.sorted(), func(o *owned) bool { return c.Name == o.config.Name && c.MAC == o.config.MAC }) {
			d.fault(fmt.Sprintf("network.interfaces: there is no %s%s", c.Name, c.MAC))
		}
	}
	up := slices.ContainsFunc(d.sorted(), func(o *owned) bool { return o.up })
	if len(d.owned) > 0 && !up {
		d.fault("no network interface has a carrier")
	}
}

// publish brings resolv.conf and the status up to date.
func (d *daemon) publish() {
	var servers, ntp []netip.Addr
	var search, status []string
	for _, o := range d.sorted() {
		if o.lease != nil {
			servers, search = append(servers, o.lease.DNS...), append(search, o.lease.Search...)
			ntp = append(ntp, o.lease.NTP...)
		}
		status = append(status, o.String())
	}
	for _, o := range d.sorted() {
		servers, search = append(servers, o.servers()...), append(search, sortedKeys(o.learnt.Search)...)
	}
	text := resolvConf(d.network, servers, search)
	early := len(servers) == 0 && !d.settled // the last run's servers are about to come back
	if !early && !bytes.Equal(text, d.resolv) {
		if err := replace(d.path("resolv.conf"), text); err != nil {
			d.fault(err.Error())
		}
		d.resolv = text
	}
	if !early && !slices.Equal(ntp, d.ntp) {
		if err := save(d.path("time/dhcp.json"), ntp); err != nil {
			d.fault(err.Error())
		}
		d.ntp = ntp
	}
	if s := strings.Join(status, "; "); s != d.status {
		d.status = s
		if err := d.supervisor.Status("%s", s); err != nil {
			slog.Warn("not told", "error", err)
		}
	}
}

// sorted is our interfaces by index.
func (d *daemon) sorted() []*owned {
	var out []*owned
	for _, index := range sortedKeys(d.owned) {
		out = append(out, d.owned[index])
	}
	return out
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) fault(text string) {
	slog.Warn("fault", "text", text)
	if err := d.supervisor.Fault("%s", text); err != nil {
		slog.Warn("not told", "error", err)
	}
}

// String is the interface's part of the status line.
func (o *owned) String() string {
	var parts []string
	via := o.config.Gateway
	for _, p := range o.config.Addresses {
		parts = append(parts, p.String())
	}
	if o.lease != nil {
		parts = append(parts, o.lease.Address.String())
		for _, r := range o.lease.Routes {
			if r.To == defaultRoute && !via.IsValid() {
				via = r.Via
			}
		}
	}
	if len(parts) == 0 && o.config.DHCP4 {
		parts = []string{"waits for an address"}
	}
	if via.IsValid() {
		parts = append(parts, "via "+via.String())
	}
	if !o.up {
		parts = append(parts, "(no carrier)")
	}
	return strings.Join(append([]string{o.name}, parts...), " ")
}

// servers are the name servers of router advertisements; one that is known by
// its link-local address is reached over this link only.
func (o *owned) servers() []netip.Addr {
	var out []netip.Addr
	for _, s := range sortedFunc(o.learnt.Servers, netip.Addr.Compare) {
		if s.IsLinkLocalUnicast() {
			s = s.WithZone(o.name)
		}
		out = append(out, s)
	}
	return out
}
