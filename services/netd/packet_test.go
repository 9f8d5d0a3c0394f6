package netd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/init/spec"
	"holdfast/services/nodeconfig"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestSpecIsHonoured(t *testing.T) {
	data, err := json.Marshal(Spec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("netd", data); err != nil {
		t.Error(err)
	}
}

func TestDatagram(t *testing.T) {
	b := datagram(netip.MustParseAddr("192.0.2.50"), []byte("odd"))
	// In the live tests the kernel of the server's namespace checks both checksums.
	want := "4500001f000000004011b89cc0000232ffffffff" + "00440043000b69ba" + hex.EncodeToString([]byte("odd"))
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPayload(t *testing.T) {
	good := datagram(netip.MustParseAddr("192.0.2.1"), []byte("hello"))
	good[ipHeader+3] = clientPort
	padded := append(bytes.Clone(good), make([]byte, 20)...)
	change := func(at int, v ...byte) []byte { b := bytes.Clone(good); copy(b[at:], v); return b }
	for name, test := range map[string]struct {
		packet []byte
		want   string
	}{
		"good":              {good, "hello"},
		"Ethernet padding":  {padded, "hello"},
		"cut":               {good[:len(good)-1], ""},
		"empty":             {nil, ""},
		"IPv6":              {change(0, 6<<4|5), ""},
		"TCP":               {change(9, 6), ""},
		"other port":        {change(ipHeader+2, 0, 69), ""},
		"header too short":  {change(0, 4<<4|4), ""},
		"header too long":   {change(0, 4<<4|15), ""},
		"no room for UDP":   {append(change(2, 0, 24), make([]byte, 30)...), ""}, // nclient4 ends on this one
		"UDP length 0":      {change(ipHeader+4, 0, 0), ""},
		"UDP length beyond": {change(ipHeader+4, 1, 0), ""},
		"fragment":          {change(6, 0x20, 0), ""},
		"later fragment":    {change(6, 0, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(payload(test.packet)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(datagram(netip.IPv4Unspecified(), []byte("hello")))
	f.Fuzz(func(t *testing.T, b []byte) { payload(b) })
}

func acknowledgement(t testing.TB, m ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	ack, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 50)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(800),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))),
	}, m...)...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func TestLeaseOf(t *testing.T) {
	const hour = time.Hour
	_, ten, _ := net.ParseCIDR("10.0.0.0/8")
	seconds := func(code dhcpv4.GenericOptionCode, s byte) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(code, []byte{0, 0, 0, s})
	}
	for name, test := range map[string]struct {
		change dhcpv4.Modifier
		want   func(*Lease) // from the plain one; nil: refused
	}{
		"plain":   {func(*dhcpv4.DHCPv4) {}, func(*Lease) {}},
		"no mask": {dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask), func(*Lease) {}},
		"classless routes win": {dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: ten, Router: net.IPv4zero}, &dhcpv4.Route{Dest: ten, Router: net.IPv4(192, 0, 2, 2)})),
			func(l *Lease) {
				l.Routes = []Route{{To: netip.MustParsePrefix("10.0.0.0/8")}, {To: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("192.0.2.2")}}
			}},
		"own times":     {func(d *dhcpv4.DHCPv4) { seconds(58, 5)(d); seconds(59, 9)(d) }, func(l *Lease) { l.Renew, l.Rebind = hour+5*time.Second, hour+9*time.Second }},
		"senseless T1":  {func(d *dhcpv4.DHCPv4) { seconds(58, 9)(d); seconds(59, 5)(d) }, func(*Lease) {}},
		"too short":     {dhcpv4.WithLeaseTime(1), func(l *Lease) { l.Renew, l.Rebind, l.End = hour+shortest/2, hour+shortest/8*7, hour+shortest }},
		"MTU":           {dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 0}), func(l *Lease) { l.MTU = 1280 }},
		"MTU too small": {dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 68}), func(*Lease) {}},
		"names": {func(d *dhcpv4.DHCPv4) {
			d.UpdateOption(dhcpv4.OptDomainName("example.org"))
			d.UpdateOption(dhcpv4.OptDNS(net.IPv4(192, 0, 2, 53), net.IPv4zero))
		}, func(l *Lease) {
			l.Search, l.DNS = []string{"example.org"}, []netip.Addr{netip.MustParseAddr("192.0.2.53")}
		}},
		"time servers": {dhcpv4.WithOption(dhcpv4.OptNTPServers(net.IPv4(192, 0, 2, 123), net.IPv4zero)), func(l *Lease) {
			l.NTP = []netip.Addr{netip.MustParseAddr("192.0.2.123")}
		}},
		"search wins": {func(d *dhcpv4.DHCPv4) {
			d.UpdateOption(dhcpv4.OptDomainName("example.org"))
			d.UpdateOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"a.example", "b\nnameserver.example"}}))
		}, func(l *Lease) { l.Search = []string{"a.example"} }},
		"injection":  {dhcpv4.WithOption(dhcpv4.OptDomainName("x;y\nnameserver 203.0.113.1")), func(l *Lease) { l.Search = []string{"nameserver", "203.0.113.1"} }},
		"no server":  {dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier), nil},
		"no time":    {dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime), nil},
		"no address": {dhcpv4.WithYourIP(net.IPv4zero), nil},
		"broadcast":  {dhcpv4.WithYourIP(net.IPv4bcast), nil},
		"bad mask":   {dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := leaseOf(acknowledgement(t, test.change), hour)
			if test.want == nil {
				if err == nil {
					t.Errorf("accepted: %+v", got)
				}
				return
			}
			want := testLease(hour, 800*time.Second)
			want.Routes = []Route{{To: defaultRoute, Via: netip.MustParseAddr("192.0.2.1")}}
			want.MAC = "00:00:00:00:00:00"
			test.want(want)
			if err != nil || !reflect.DeepEqual(zeroNil(got), zeroNil(want)) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func zeroNil(l *Lease) *Lease {
	if len(l.Search) == 0 {
		l.Search = nil
	}
	return l
}

func FuzzLeaseOf(f *testing.F) {
	f.Add(acknowledgement(f).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := leaseOf(m, time.Hour)
		if err != nil {
			return
		}
		if l.Start >= l.Renew || l.Renew >= l.Rebind || l.Rebind >= l.End || !l.Address.IsValid() {
			t.Errorf("%+v", l)
		}
		for _, s := range l.Search {
			if strings.ContainsAny(s, " \n\t;#") {
				t.Errorf("search %q", s)
			}
		}
		if _, err := json.Marshal(l); err != nil {
			t.Error(err)
		}
	})
}

func TestRemembered(t *testing.T) {
	file := t.TempDir() + "/netd/eth0.json"
	if l, err := remembered(file, "52:54:00:12:34:56", 0); l != nil || err != nil {
		t.Errorf("nothing: %v, %v", l, err)
	}
	want := testLease(0, time.Hour)
	want.MAC, want.Routes = "52:54:00:12:34:56", []Route{{To: netip.MustParsePrefix("10.0.0.0/8")}}
	if err := save(file, want); err != nil {
		t.Fatal(err)
	}
	if l, err := remembered(file, want.MAC, time.Minute); err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := remembered(file, want.MAC, time.Hour); l != nil || err != nil {
		t.Errorf("ended: %v, %v", l, err)
	}
	if l, err := remembered(file, "52:54:00:00:00:00", 0); l != nil || err != nil {
		t.Errorf("another card: %v, %v", l, err)
	}
}

func TestConfigFor(t *testing.T) {
	n := nodeconfig.Network{Interfaces: []nodeconfig.Interface{
		{Name: "uplink", IPv6: nodeconfig.Off}, {MAC: "52:54:00:12:34:56", MTU: 1400},
	}}
	mac, _ := net.ParseMAC("52:54:00:12:34:56")
	other, _ := net.ParseMAC("52:54:00:00:00:01")
	ether := func(name string, mac net.HardwareAddr) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, EncapType: "ether", HardwareAddr: mac}
	}
	enslaved, loopback := ether("eth2", other), ether("lo", nil)
	enslaved.MasterIndex, loopback.RawFlags, loopback.EncapType = 4, unix.IFF_LOOPBACK, "loopback"
	byDefault := nodeconfig.Interface{DHCP4: true, IPv6: nodeconfig.RA}
	for name, test := range map[string]struct {
		link netlink.Link
		want nodeconfig.Interface
		ours bool
	}{
		"physical":         {&netlink.Device{LinkAttrs: ether("eth1", other)}, byDefault, true},
		"by MAC":           {&netlink.Device{LinkAttrs: ether("eth1", mac)}, n.Interfaces[1], true},
		"by name":          {&netlink.Device{LinkAttrs: ether("uplink", other)}, n.Interfaces[0], true},
		"virtual, by name": {&netlink.Dummy{LinkAttrs: ether("uplink", other)}, n.Interfaces[0], true},
		"veth":             {&netlink.Veth{LinkAttrs: ether("veth1", other)}, nodeconfig.Interface{}, false},
		"bridge's own MAC": {&netlink.Bridge{LinkAttrs: ether("cni0", mac)}, nodeconfig.Interface{}, false},
		"unknown kind":     {&netlink.GenericLink{LinkAttrs: ether("x", other), LinkType: "sit"}, nodeconfig.Interface{}, false},
		"enslaved":         {&netlink.Device{LinkAttrs: enslaved}, nodeconfig.Interface{}, false},
		"loopback":         {&netlink.Device{LinkAttrs: loopback}, nodeconfig.Interface{}, false},
		"no Ethernet":      {&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "tunl0", EncapType: "ipip"}}, nodeconfig.Interface{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ours := configFor(test.link, n)
			if ours != test.ours || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v", got, ours)
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	a := func(s ...string) (out []netip.Addr) {
		for _, x := range s {
			out = append(out, netip.MustParseAddr(x))
		}
		return out
	}
	configured := nodeconfig.Network{Nameservers: a("192.0.2.53"), Search: []string{"example.org"}}
	for name, test := range map[string]struct {
		n       nodeconfig.Network
		servers []netip.Addr
		search  []string
		want    string
	}{
		"nothing":    {nodeconfig.Network{}, nil, nil, ""},
		"configured": {configured, a("198.51.100.1"), []string{"x.org"}, "nameserver 192.0.2.53\nsearch example.org\n"},
		"learnt": {nodeconfig.Network{}, a("198.51.100.1", "198.51.100.1", "fe80::1%eth0", "::2", "::3"), []string{"a", "b", "a"},
			"nameserver 198.51.100.1\nnameserver fe80::1%eth0\nnameserver ::2\nsearch a b\n"},
	} {
		if got := string(resolvConf(test.n, test.servers, test.search)); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestAdvert(t *testing.T) {
	servers := "0a0000180300000086000000000000001903000000000e10" + "20010db8000000000000000000000053"
	search := "0a0000180300000086000000000000001f03000000000000" + "076578616d706c65036f726700000000"
	for name, test := range map[string]struct {
		message string
		want    advert
		ok      bool
	}{
		"servers":   {servers, advert{3, []netip.Addr{netip.MustParseAddr("2001:db8::53")}, nil, time.Hour}, true},
		"search":    {search, advert{3, nil, []string{"example.org"}, 0}, true},
		"cut":       {servers[:len(servers)-2], advert{}, false},
		"no option": {servers[:32], advert{}, false},
		"length 0":  {strings.Replace(servers, "1903", "1900", 1), advert{}, false},
		"no RA":     {strings.Replace(servers, "860000", "870000", 1), advert{}, false},
	} {
		b, err := hex.DecodeString(test.message)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseAdvert(b)
		if ok != test.ok || ok && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

func FuzzAdvert(f *testing.F) {
	f.Add([]byte("\x0a\x00\x00\x18\x03\x00\x00\x00\x86\x00\x00\x00\x00\x00\x00\x00\x1f\x03\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, _ := parseAdvert(b)
		for _, s := range a.search {
			if !isDomain(s) {
				t.Errorf("search %q", s)
			}
		}
	})
}

func TestLearnt(t *testing.T) {
	var l learnt
	server := []netip.Addr{netip.MustParseAddr("::53")}
	if !l.hear(advert{servers: server, life: time.Minute}, 0) {
		t.Error("a new server is no news")
	}
	if l.hear(advert{servers: server, life: time.Minute}, 30*time.Second) {
		t.Error("more time is news")
	}
	if l.expire(80*time.Second) || !l.expire(90*time.Second) || len(l.Servers) != 0 {
		t.Errorf("expiry: %+v", l)
	}
	l.hear(advert{search: []string{"a"}, life: time.Minute}, 0)
	if !l.hear(advert{search: []string{"a"}}, 0) || len(l.Search) != 0 {
		t.Errorf("withdrawn: %+v", l)
	}
}
