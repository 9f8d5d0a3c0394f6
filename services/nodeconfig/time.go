package nodeconfig

import (
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (r *reader) time(to *Time) visit {
	return func(path string, n *yaml.Node) bool {
		return r.mapping(path, n, map[string]visit{
			"servers": list(r, &to.Servers, func(s *string) visit { return r.text(s, timeServer) }),
			"ptp":     r.boolean(&to.PTP),
		})
	}
}

// timeServer accepts a host name or an address. A port is not part of it: NTP
// has one.
func timeServer(s string) error {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() {
			return expected("an address that a server can have")
		}
		return nil
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if subdomain(s) != nil || isDigits(last) { // 192.0.2.300 is no name
		return expected("a host name or an address, such as time.example.org or 192.0.2.123")
	}
	return nil
}
