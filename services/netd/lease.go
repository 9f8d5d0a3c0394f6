package netd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// Lease is what a DHCP server granted. Times are since boot.
type Lease struct {
	MAC     string        `json:"mac"` // of the interface that it was granted to
	Address netip.Prefix  `json:"address"`
	Server  netip.Addr    `json:"server"`
	Routes  []Route       `json:"routes,omitempty"`
	DNS     []netip.Addr  `json:"dns,omitempty"`
	Search  []string      `json:"search,omitempty"`
	NTP     []netip.Addr  `json:"ntp,omitempty"`
	MTU     int           `json:"mtu,omitempty"`
	Start   time.Duration `json:"start"`
	Renew   time.Duration `json:"renew"`  // T1: ask the server that granted it
	Rebind  time.Duration `json:"rebind"` // T2: ask any server
	End     time.Duration `json:"end"`
}

// Route is a destination and its router; without one it is on the link.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via,omitzero"`
}

// Bounds on what a server may say.
const (
	shortest  = 30 * time.Second // a lease; less would keep netd busy
	maxRoutes = 64
	minMTU    = 576
)

var defaultRoute = netip.MustParsePrefix("0.0.0.0/0")

// leaseOf reads a server's acknowledgement that came at a moment.
func leaseOf(ack *dhcpv4.DHCPv4, now time.Duration) (*Lease, error) {
	address, err := prefixOf(ack)
	if err != nil {
		return nil, err
	}
	server, _ := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if !server.IsValid() {
		return nil, errors.New("acknowledgement names no server")
	}
	granted := ack.IPAddressLeaseTime(0)
	if granted <= 0 {
		return nil, errors.New("acknowledgement has no lease time")
	}
	granted = max(granted, shortest)
	t1 := ack.IPAddressRenewalTime(granted / 2)
	t2 := ack.IPAddressRebindingTime(granted / 8 * 7)
	if t1 < time.Second || t2 <= t1 || granted <= t2 {
		t1, t2 = granted/2, granted/8*7
	}
	return &Lease{
		MAC:     ack.ClientHWAddr.String(),
		Address: address,
		Server:  server,
		Routes:  routesOf(ack),
		DNS:     addresses(ack.DNS()),
		Search:  searchOf(ack),
		NTP:     addresses(ack.NTPServers()),
		MTU:     mtuOf(ack),
		Start:   now,
		Renew:   now + t1,
		Rebind:  now + t2,
		End:     now + granted,
	}, nil
}

func prefixOf(ack *dhcpv4.DHCPv4) (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() {
		return netip.Prefix{}, fmt.Errorf("%v is no address for a host", ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	bits, size := mask.Size()
	if size != 32 || bits == 0 {
		return netip.Prefix{}, fmt.Errorf("%v is no subnet mask", mask)
	}
	return netip.PrefixFrom(a, bits), nil
}

// routesOf prefers classless routes; a client that reads them ignores the
// router option (RFC 3442).
func routesOf(ack *dhcpv4.DHCPv4) []Route {
	var out []Route
	for _, r := range ack.ClasslessStaticRoute() {
		to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		bits, _ := r.Dest.Mask.Size()
		via, _ := netip.AddrFromSlice(r.Router.To4())
		if !ok || len(out) == maxRoutes {
			continue
		}
		route := Route{To: netip.PrefixFrom(to, bits).Masked()}
		if via.IsValid() && !via.IsUnspecified() {
			route.Via = via
		}
		out = append(out, route)
	}
	if routers := addresses(ack.Router()); len(out) == 0 && len(routers) > 0 {
		out = []Route{{To: defaultRoute, Via: routers[0]}}
	}
	return out
}

func addresses(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() && !a.IsMulticast() && len(out) < maxRoutes {
			out = append(out, a)
		}
	}
	return out
}

func searchOf(ack *dhcpv4.DHCPv4) []string {
	names := strings.Fields(ack.DomainName())
	if s := ack.DomainSearch(); s != nil && len(s.Labels) > 0 {
		names = s.Labels
	}
	return slices.DeleteFunc(slices.Clone(names), func(s string) bool { return !isDomain(s) })
}

// isDomain keeps what a server says from becoming more than one word of resolv.conf.
func isDomain(s string) bool {
	return s != "" && len(s) <= 253 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

func mtuOf(ack *dhcpv4.DHCPv4) int {
	b := ack.Options.Get(dhcpv4.OptionInterfaceMTU)
	if len(b) != 2 {
		return 0
	}
	if mtu := int(b[0])<<8 | int(b[1]); mtu >= minMTU {
		return mtu
	}
	return 0
}

// sinceBoot is the time on CLOCK_BOOTTIME.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // the kernel has had it since 2.6.39
	}
	return time.Duration(t.Nano())
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

// save writes a JSON file, whole or not at all.
func save(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replace(path, append(b, '\n'))
}

// replace needs no fsync: the files live in memory.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// remembered is the lease of the last run, if it can still be used.
func remembered(path, mac string, now time.Duration) (*Lease, error) {
	var l Lease
	if err := load(path, &l); err != nil {
		return nil, err
	}
	if l.MAC != mac || !l.Address.IsValid() || l.End <= now {
		return nil, nil
	}
	return &l, nil
}
