package nodeconfig

import (
	"net"
	"net/netip"
	"slices"

	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

func (r *reader) network(to *Network) visit {
	return func(path string, n *yaml.Node) bool {
		return r.mapping(path, n, map[string]visit{
			"interfaces":  r.interfaces(&to.Interfaces),
			"nameservers": list(r, &to.Nameservers, r.address),
			"search":      list(r, &to.Search, func(s *string) visit { return r.text(s, domain) }),
		})
	}
}

// Patterns of addresses; what they let through is checked.
const (
	ip4Pattern    = `(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3})`
	ip6Pattern    = `(?:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)`
	bits4         = `(?:[12]?[0-9]|3[0-2])`
	bits6         = `(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])`
	prefixPattern = ip4Pattern + `/` + bits4 + `|` + ip6Pattern + `/` + bits6
	macPattern    = `(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}`
)

// interfaces drops an entry that repeats another one's name or MAC address.
func (r *reader) interfaces(to *[]Interface) visit {
	seen := map[string]bool{"": true}
	return list(r, to, func(i *Interface) visit {
		return func(path string, n *yaml.Node) bool {
			if !r.networkInterface(i, path, n) {
				return false
			}
			id := i.Name + i.MAC
			if seen[id] {
				return r.fault(path, n, "is %s once more; the first entry applies", id)
			}
			seen[id] = true
			return true
		}
	})
}

func (r *reader) networkInterface(to *Interface, path string, n *yaml.Node) bool {
	to.IPv6 = RA
	dhcp, given := true, false
	ok := r.mapping(path, n, map[string]visit{
		"name":      r.text(&to.Name, interfaceName),
		"mac":       value(r, &to.MAC, parseMAC, "!!str"),
		"dhcp4":     func(path string, n *yaml.Node) bool { given = r.boolean(&dhcp)(path, n); return given },
		"ipv6":      r.text((*string)(&to.IPv6), oneOf(string(RA), string(Off))),
		"addresses": list(r, &to.Addresses, func(p *netip.Prefix) visit { return value(r, p, hostPrefix, "!!str") }),
		"gateway":   r.address(&to.Gateway),
		"routes":    list(r, &to.Routes, r.route),
		"mtu":       r.integer(&to.MTU, 576, 65535),
	})
	r.note(func(s *schema.Schema) {
		s.OneOf = []*schema.Schema{{Required: []string{"name"}}, {Required: []string{"mac"}}}
		s.Properties["dhcp4"].Default = nil // it depends
	})
	to.DHCP4 = dhcp
	if !given {
		to.DHCP4 = len(to.Addresses) == 0
	}
	if ok && (to.Name == "") == (to.MAC == "") {
		return r.fault(path, n, "expected either a name or a mac; the entry does not apply")
	}
	return ok
}

func (r *reader) route(to *Route) visit {
	return func(path string, n *yaml.Node) bool {
		r.mapping(path, n, map[string]visit{
			"to":  value(r, &to.To, networkPrefix, "!!str"),
			"via": r.address(&to.Via),
		})
		r.note(func(s *schema.Schema) { s.Required = []string{"to", "via"} })
		if !to.To.IsValid() || !to.Via.IsValid() || to.To.Addr().Is4() != to.Via.Is4() {
			return r.fault(path, n, "expected to and via, both IPv4 or both IPv6; the route does not apply")
		}
		return true
	}
}

func (r *reader) address(to *netip.Addr) visit { return value(r, to, parseAddress, "!!str") }

func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, expectedLike("an IP address such as 192.0.2.1", ip4Pattern+`|`+ip6Pattern)
	}
	return a, nil
}

func hostPrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() == 0 {
		return p, expectedLike("an address with its prefix length, such as 192.0.2.10/24", prefixPattern)
	}
	if _, err := parseAddress(p.Addr().String()); err != nil || p.Addr().IsLoopback() {
		return p, expected("an address that a host can have")
	}
	return p, nil
}

func networkPrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Masked() != p || p.Addr().Is4In6() {
		return p, expectedLike("a network with its prefix length and no host bits, such as 198.51.100.0/24", prefixPattern)
	}
	return p, nil
}

func parseMAC(s string) (string, error) {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return "", expectedLike("a MAC address such as 52:54:00:12:34:56", macPattern)
	}
	return m.String(), nil
}

var noInterfaces = []any{".", "..", "lo"}

func interfaceName(s string) error {
	good := s != "" && len(s) <= 15 && !slices.Contains(noInterfaces, any(s))
	for _, c := range s {
		good = good && c > ' ' && c <= '~' && c != '/' && c != ':'
	}
	if !good {
		return &expectation{"an interface name such as eth0",
			schema.Schema{Pattern: `^[!-.0-9;-~]{1,15}$`, Not: &schema.Schema{Enum: noInterfaces}}}
	}
	return nil
}
