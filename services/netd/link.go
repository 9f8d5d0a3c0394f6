package netd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/services/nodeconfig"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configFor returns an interface's configuration and whether it is ours.
func configFor(link netlink.Link, n nodeconfig.Network) (nodeconfig.Interface, bool) {
	a := link.Attrs()
	if a.RawFlags&unix.IFF_LOOPBACK != 0 || a.MasterIndex != 0 {
		return nodeconfig.Interface{}, false
	}
	for _, c := range n.Interfaces {
		if c.Name == a.Name {
			return c, true
		}
	}
	// A device without a kind is no virtual one, which could have borrowed a
	// MAC address.
	if link.Type() != "device" || a.EncapType != "ether" {
		return nodeconfig.Interface{}, false
	}
	for _, c := range n.Interfaces {
		if c.MAC != "" && c.MAC == a.HardwareAddr.String() {
			return c, true
		}
	}
	return nodeconfig.Interface{DHCP4: true, IPv6: nodeconfig.RA}, true
}

func hasCarrier(a *netlink.LinkAttrs) bool {
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	return a.RawFlags&up == up
}

// setting is one net.* sysctl of an interface.
type setting struct{ name, value string }

var (
	// accept_ra 2: also when the node forwards, as every Kubernetes node does.
	// addr_gen_mode 0: addresses from the MAC, so that a node keeps its own.
	advertised = []setting{{"disable_ipv6", "0"}, {"accept_ra", "2"}, {"autoconf", "1"}, {"addr_gen_mode", "0"}}
	without    = []setting{{"disable_ipv6", "1"}}
)

// prepare is done before the interface goes up: the first router advertisement
// comes at once.
func prepare(sysctl, name string, v6 nodeconfig.IPv6) error {
	settings := advertised
	if v6 == nodeconfig.Off {
		settings = without
	}
	for _, s := range settings {
		path := filepath.Join(sysctl, "ipv6/conf", name, s.name)
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

// raise brings a link up by name.
func raise(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
