package netd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"holdfast/services/nodeconfig"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Metrics of routes, to which the interface's index is added: what is
// configured wins over DHCP, an earlier interface over a later one.
const (
	staticMetric = 50
	dhcpMetric   = 500
)

// bind gives the interface what its lease says, and takes away what the one
// before said.
func bind(index int, fixedMTU bool, before, l *Lease, now time.Duration) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	var mtu error
	if l.MTU > 0 && !fixedMTU && link.Attrs().MTU != l.MTU {
		mtu = setMTU(link, l.MTU)
	}
	if before != nil && before.Address != l.Address {
		if err := removeAddress(link, before.Address); err != nil {
			return err
		}
	}
	left := int((l.End - now) / time.Second)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(l.Address), ValidLft: left, PreferedLft: left}); err != nil {
		return fmt.Errorf("set address %s: %w", l.Address, err)
	}
	want := make(map[string]bool, len(l.Routes))
	for _, r := range l.Routes {
		route := routeTo(index, r, dhcpMetric, unix.RTPROT_DHCP)
		route.Src = l.Address.Addr().AsSlice()
		if r.Via.IsValid() && !l.Address.Contains(r.Via) {
			route.Flags = int(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("set route to %s: %w", r.To, err)
		}
		want[r.To.String()] = true
	}
	return errors.Join(mtu, removeRoutes(index, want))
}

// unbind takes a lease's address and routes away.
func unbind(index int, l *Lease) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	return errors.Join(removeRoutes(index, nil), removeAddress(link, l.Address))
}

// removeRoutes removes the interface's DHCP routes but those to keep.
func removeRoutes(index int, keep map[string]bool) error {
	ours := &netlink.Route{LinkIndex: index, Protocol: unix.RTPROT_DHCP}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, ours, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // others' routes change all the time
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		to := defaultRoute.String()
		if r.Dst != nil {
			to = r.Dst.String()
		}
		if keep[to] {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("remove route to %s: %w", to, err)
		}
	}
	return nil
}

func removeAddress(link netlink.Link, p netip.Prefix) error {
	err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s: %w", p, err)
	}
	return nil
}

// fix gives the interface what is configured. One thing that cannot be set
// does not keep the others from being set.
func fix(index int, c nodeconfig.Interface) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	var all error
	if c.MTU > 0 && link.Attrs().MTU != c.MTU {
		all = setMTU(link, c.MTU)
	}
	for _, p := range c.Addresses {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
			all = errors.Join(all, fmt.Errorf("set address %s: %w", p, err))
		}
	}
	for _, r := range staticRoutes(c) {
		route := routeTo(index, r, staticMetric, unix.RTPROT_STATIC)
		if !reachable(c.Addresses, r.Via) {
			route.Flags = int(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(route); err != nil {
			all = errors.Join(all, fmt.Errorf("set route to %s via %s: %w", r.To, r.Via, err))
		}
	}
	return all
}

func staticRoutes(c nodeconfig.Interface) []Route {
	var out []Route
	for _, r := range c.Routes {
		out = append(out, Route{To: r.To, Via: r.Via})
	}
	if c.Gateway.IsValid() {
		everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if c.Gateway.Is4() {
			everywhere = defaultRoute
		}
		out = append(out, Route{To: everywhere, Via: c.Gateway})
	}
	return out
}

// reachable reports whether a router is a neighbour by one of our addresses.
func reachable(ours []netip.Prefix, via netip.Addr) bool {
	for _, p := range ours {
		if p.Contains(via) {
			return true
		}
	}
	return via.IsLinkLocalUnicast()
}

func routeTo(index int, r Route, metric int, protocol netlink.RouteProtocol) *netlink.Route {
	route := &netlink.Route{LinkIndex: index, Dst: ipNet(r.To), Protocol: protocol, Priority: metric + index}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	} else {
		route.Scope = unix.RT_SCOPE_LINK
	}
	return route
}

func setMTU(link netlink.Link, mtu int) error {
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
