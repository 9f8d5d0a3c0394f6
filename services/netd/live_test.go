package netd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/services/nodeconfig"
	"holdfast/services/notify"

	"github.com/vishvananda/netlink"
)

// inNamespace says that this process has a network namespace of its own.
const inNamespace = "NETD_TEST_NAMESPACE"

// TestMain runs everything once more inside a new network namespace, so that
// no test can touch the machine's own network.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), inNamespace+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// lab is a cable: eth0 in our namespace, peer in another one with the servers.
type lab struct {
	t      *testing.T
	dir    string
	holder *exec.Cmd // keeps the other namespace alive
	server *exec.Cmd
	log    *buffer

	mu       sync.Mutex
	messages []string
}

// buffer is written by a process and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	missing := ""
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing += " " + tool
		}
	}
	if os.Getenv(inNamespace) == "" {
		missing += " root"
	}
	if missing != "" && os.Getenv("CI") != "" {
		t.Fatalf("needs%s", missing)
	} else if missing != "" {
		t.Skipf("needs%s", missing)
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	need(t, "ip", "nsenter", "dnsmasq")
	l := &lab{t: t, dir: t.TempDir()}
	l.holder = start(t, nil, "unshare", "-n", "sleep", "300")
	// The namespace is there once the program after unshare runs.
	eventually(t, 5*time.Second, "second namespace", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", l.holder.Process.Pid))
		return err == nil && strings.TrimSpace(string(b)) == "sleep"
	})
	l.ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer", "netns", strconv.Itoa(l.holder.Process.Pid))
	t.Cleanup(func() {
		if link, err := netlink.LinkByName("eth0"); err == nil {
			if err := netlink.LinkDel(link); err != nil {
				t.Error(err)
			}
		}
	})
	l.there("ip", "addr", "add", "192.0.2.1/24", "dev", "peer")
	l.there("ip", "addr", "add", "198.51.100.1/24", "dev", "peer")
	l.there("ip", "link", "set", "peer", "up")
	return l
}

// start starts a process that ends with the test.
func start(t *testing.T, out *buffer, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out != nil {
		c.Stdout, c.Stderr = out, out
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(c) })
	return c
}

func end(c *exec.Cmd) {
	if c != nil && c.ProcessState == nil {
		c.Process.Kill()
		c.Wait()
	}
}

func (l *lab) ip(args ...string) string {
	l.t.Helper()
	b, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, b)
	}
	return string(b)
}

// there runs a command in the other namespace.
func (l *lab) there(args ...string) {
	l.t.Helper()
	b, err := exec.Command("nsenter", l.enter(args)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, b)
	}
}

func (l *lab) enter(args []string) []string {
	return append([]string{"-n", "-t", strconv.Itoa(l.holder.Process.Pid)}, args...)
}

// serve starts dnsmasq as the DHCP server.
func (l *lab) serve(args ...string) {
	l.t.Helper()
	l.stopServer()
	l.log = &buffer{}
	args = append([]string{
		"nsenter", "-n", "-t", strconv.Itoa(l.holder.Process.Pid),
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--log-dhcp", "--user=root", "--pid-file=",
		"--port=0", "--interface=peer", "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=" + l.dir + "/dnsmasq.leases",
	}, args...)
	l.server = start(l.t, l.log, args...)
}

func (l *lab) stopServer() {
	end(l.server)
	l.server = nil
}

// netd starts the daemon; the result stops it.
func (l *lab) netd(n nodeconfig.Network) (stop func()) {
	l.t.Helper()
	b, err := json.Marshal(n)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "network.json"), b, 0o644); err != nil {
		l.t.Fatal(err)
	}
	socket := l.listen()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- newDaemon(l.dir, "/proc/sys/net", notify.At(socket)).run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.t.Error(err)
			}
		case <-time.After(10 * time.Second):
			l.t.Error("netd does not stop")
		}
	})
	l.t.Cleanup(stop)
	return stop
}

// listen is the supervisor's end of sd_notify.
func (l *lab) listen() string {
	l.t.Helper()
	path := filepath.Join(l.dir, "notify")
	os.Remove(path)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	l.mu.Lock()
	l.messages = nil
	l.mu.Unlock()
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			l.mu.Lock()
			l.messages = append(l.messages, string(b[:n]))
			l.mu.Unlock()
		}
	}()
	return path
}

func (l *lab) said(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(strings.Join(l.messages, "\n")+"\n", text)
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func (l *lab) expect(limit time.Duration, message string) {
	l.t.Helper()
	defer func() {
		if l.t.Failed() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Logf("said:\n%s", strings.Join(l.messages, "\n"))
			if l.log != nil {
				l.t.Logf("server:\n%s", l.log)
			}
		}
	}()
	eventually(l.t, limit, message, func() bool { return l.said(message) > 0 })
}

func (l *lab) has(what, list string) {
	l.t.Helper()
	if !strings.Contains(list, what) {
		l.t.Errorf("no %q in:\n%s", what, list)
	}
}

func (l *lab) resolvConf() string {
	b, err := os.ReadFile(filepath.Join(l.dir, "resolv.conf"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

var (
	dhcp     = nodeconfig.Network{Interfaces: []nodeconfig.Interface{{Name: "eth0", DHCP4: true, IPv6: nodeconfig.RA}}}
	oneRange = "--dhcp-range=192.0.2.50,192.0.2.50,255.255.255.0,2m"
	gotIt    = "STATUS=eth0 192.0.2.50/24 via 192.0.2.1\n"
)

func TestLiveLease(t *testing.T) {
	l := newLab(t)
	l.serve(oneRange, "--dhcp-option=option:dns-server,192.0.2.53", "--dhcp-option=option:domain-name,example.org", "--dhcp-option=26,1400",
		"--dhcp-option=option:ntp-server,192.0.2.123")
	l.netd(dhcp)
	l.expect(5*time.Second, "READY=1\n")
	l.expect(10*time.Second, gotIt)
	l.has("192.0.2.50/24", l.ip("addr", "show", "eth0"))
	l.has("valid_lft 1", l.ip("addr", "show", "eth0"))
	l.has("mtu 1400", l.ip("link", "show", "eth0"))
	l.has("default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.50", l.ip("route"))
	l.has("UP", l.ip("link", "show", "lo"))
	eventually(t, 2*time.Second, "resolv.conf", func() bool { return l.resolvConf() == "nameserver 192.0.2.53\nsearch example.org\n" })
	var ntp []netip.Addr
	if err := load(filepath.Join(l.dir, "time/dhcp.json"), &ntp); err != nil || !slices.Equal(ntp, []netip.Addr{netip.MustParseAddr("192.0.2.123")}) {
		t.Errorf("time servers %v, %v", ntp, err)
	}
	if l.said("X_FAULT") > 0 {
		t.Errorf("faults: %q", l.messages)
	}
}

// Routers outside the subnet and classless routes, as clouds have them.
func TestLiveClasslessRoutes(t *testing.T) {
	l := newLab(t)
	l.serve("--dhcp-range=192.0.2.50,192.0.2.50,255.255.255.0,2m", "--dhcp-option=option:netmask,255.255.255.255",
		"--dhcp-option=121,0.0.0.0/0,192.0.2.1,203.0.113.0/24,192.0.2.9,169.254.169.254/32,0.0.0.0")
	l.netd(dhcp)
	l.expect(10*time.Second, "STATUS=eth0 192.0.2.50/32 via 192.0.2.1\n")
	routes := l.ip("route")
	l.has("default via 192.0.2.1 dev eth0", routes)
	l.has("203.0.113.0/24 via 192.0.2.9 dev eth0", routes)
	l.has("169.254.169.254 dev eth0", routes)
}

// Nobody answers for a while: one fault, then an address all the same.
func TestLiveServerComesLate(t *testing.T) {
	l := newLab(t)
	l.netd(dhcp)
	l.expect(5*time.Second, "READY=1\n")
	l.expect(12*time.Second, "X_FAULT=eth0: no DHCP answer within 10s\n")
	if got := l.resolvConf(); got != "" {
		t.Errorf("resolv.conf %q", got)
	}
	l.serve(oneRange)
	l.expect(20*time.Second, gotIt)
	if n := l.said("X_FAULT"); n != 1 {
		t.Errorf("%d faults: %q", n, l.messages)
	}
}

// The server goes away and comes back between renewals.
func TestLiveRenewal(t *testing.T) {
	l := newLab(t)
	args := []string{oneRange, "--dhcp-option-force=option:T2,4"} // dnsmasq puts T1 a second before it
	l.serve(args...)
	l.netd(dhcp)
	l.expect(10*time.Second, gotIt)
	renewed := func() int { return strings.Count(l.log.String(), "DHCPACK(peer) 192.0.2.50") }
	eventually(t, 10*time.Second, "renewal", func() bool { return renewed() >= 2 })
	if n := strings.Count(l.log.String(), "DHCPDISCOVER"); n != 1 {
		t.Errorf("%d discovers", n)
	}
	l.stopServer()
	l.has("192.0.2.50", l.ip("addr", "show", "eth0"))
	eventually(t, 10*time.Second, "a renewal that nobody answers", func() bool {
		var held Lease
		return load(l.dir+"/leases/eth0.json", &held) == nil && sinceBoot() > held.Renew+time.Second
	})
	l.serve(args...)
	eventually(t, 30*time.Second, "renewal after the server came back", func() bool { return renewed() >= 1 })
	if l.said("X_FAULT") > 0 || strings.Contains(l.log.String(), "DHCPDISCOVER") {
		t.Errorf("faults %q, server:\n%s", l.messages, l.log)
	}
}

// The renewing server is gone for good, another one takes over at T2.
func TestLiveRebind(t *testing.T) {
	l := newLab(t)
	l.serve(oneRange, "--dhcp-option-force=option:T2,4")
	l.netd(dhcp)
	l.expect(10*time.Second, gotIt)
	l.stopServer()
	l.there("ip", "addr", "del", "192.0.2.1/24", "dev", "peer")
	l.there("ip", "addr", "add", "192.0.2.2/24", "dev", "peer")
	l.serve(oneRange)
	l.expect(30*time.Second, "STATUS=eth0 192.0.2.50/24 via 192.0.2.2\n")
	if l.said("X_FAULT") > 0 || strings.Contains(l.log.String(), "DHCPDISCOVER") {
		t.Errorf("faults %q, server:\n%s", l.messages, l.log)
	}
}

// The cable is pulled and put into another network: the old address is
// refused, given up, and a new one is asked for.
func TestLiveCarrierLossAndNAK(t *testing.T) {
	l := newLab(t)
	l.serve(oneRange)
	l.netd(dhcp)
	l.expect(10*time.Second, gotIt)
	l.there("ip", "link", "set", "peer", "down")
	l.expect(5*time.Second, "STATUS=eth0 192.0.2.50/24 via 192.0.2.1 (no carrier)\n")
	l.has("192.0.2.50", l.ip("addr", "show", "eth0"))
	l.stopServer()
	l.there("ip", "addr", "flush", "dev", "peer")
	l.there("ip", "addr", "add", "198.51.100.1/24", "dev", "peer")
	l.there("ip", "link", "set", "peer", "up")
	l.serve("--dhcp-range=198.51.100.50,198.51.100.50,255.255.255.0,2m")
	l.expect(30*time.Second, "STATUS=eth0 198.51.100.50/24 via 198.51.100.1\n")
	l.has("DHCPNAK", l.log.String())
	if a := l.ip("addr", "show", "eth0"); strings.Contains(a, "192.0.2.50") {
		t.Errorf("the old address is still there:\n%s", a)
	}
	l.has("X_FAULT=eth0: address 192.0.2.50 given up: server refused the lease", strings.Join(l.messages, "\n"))
}

// A restart keeps the address without a moment's gap, and asks for the same one.
func TestLiveRestart(t *testing.T) {
	l := newLab(t)
	l.serve(oneRange, "--dhcp-option=option:dns-server,192.0.2.53")
	stop := l.netd(dhcp)
	l.expect(10*time.Second, gotIt)
	stop()
	l.has("192.0.2.50", l.ip("addr", "show", "eth0"))
	l.has("default via 192.0.2.1", l.ip("route"))
	updates, done := make(chan netlink.AddrUpdate, 100), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	l.serve(oneRange, "--dhcp-option=option:dns-server,192.0.2.53")
	l.netd(dhcp)
	l.expect(10*time.Second, gotIt)
	eventually(t, 10*time.Second, "confirmation", func() bool { return strings.Contains(l.log.String(), "DHCPACK") })
	if s := l.log.String(); strings.Contains(s, "DHCPDISCOVER") {
		t.Errorf("not the old lease:\n%s", s)
	}
	if got := l.resolvConf(); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf %q", got)
	}
	close(done)
	for u := range updates {
		if !u.NewAddr && u.LinkAddress.IP.To4() != nil {
			t.Errorf("address %s was taken away", u.LinkAddress.String())
		}
	}
}

func TestLiveStatic(t *testing.T) {
	l := newLab(t)
	c, faults := nodeconfig.Parse([]byte(`
apiVersion: holdfast/v1
kind: NodeConfig
network:
  interfaces:
  - name: eth0
    addresses: [192.0.2.10/24, "2001:db8::10/64"]
    gateway: 192.0.2.1
    routes: [{to: 203.0.113.0/24, via: 192.0.2.254}, {to: "::/0", via: "2001:db8::1"}, {to: 10.0.0.0/8, via: 172.16.0.1}]
    mtu: 1400
  - name: eth7
  nameservers: [192.0.2.53]
  search: [example.org]
`), "test")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	l.netd(c.Network)
	l.expect(5*time.Second, "STATUS=eth0 192.0.2.10/24 2001:db8::10/64 via 192.0.2.1\n")
	l.has("192.0.2.10/24", l.ip("addr", "show", "eth0"))
	l.has("2001:db8::10/64", l.ip("addr", "show", "eth0"))
	l.has("mtu 1400", l.ip("link", "show", "eth0"))
	eventually(t, 5*time.Second, "routes", func() bool { return strings.Contains(l.ip("route"), "10.0.0.0/8 via 172.16.0.1") })
	l.has("default via 192.0.2.1 dev eth0 proto static", l.ip("route"))
	l.has("203.0.113.0/24 via 192.0.2.254", l.ip("route"))
	l.has("default via 2001:db8::1", l.ip("-6", "route"))
	if got := l.resolvConf(); got != "nameserver 192.0.2.53\nsearch example.org\n" {
		t.Errorf("resolv.conf %q", got)
	}
	l.expect(10*time.Second, "X_FAULT=network.interfaces: there is no eth7\n")
	// A link that goes down loses its routes; they come back with the carrier.
	l.ip("link", "set", "eth0", "down")
	l.ip("link", "set", "eth0", "up")
	eventually(t, 5*time.Second, "routes after down and up", func() bool { return strings.Contains(l.ip("route"), "default via 192.0.2.1") })
}

// Router advertisements count although the node forwards; name servers come
// with them and survive a restart.
func TestLiveRouterAdvertisement(t *testing.T) {
	l := newLab(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	l.there("ip", "addr", "add", "2001:db8:1::1/64", "dev", "peer", "nodad")
	l.serve("--enable-ra", "--dhcp-range=2001:db8:1::,ra-only", "--dhcp-option=option6:dns-server,[2001:db8:1::53]", "--dhcp-option=option6:domain-search,six.example")
	stop := l.netd(nodeconfig.Network{Interfaces: []nodeconfig.Interface{{Name: "eth0", IPv6: nodeconfig.RA}}})
	want := "nameserver 2001:db8:1::53\nsearch six.example\n"
	eventually(t, 20*time.Second, "name server of the advertisement", func() bool { return l.resolvConf() == want })
	l.has("inet6 2001:db8:1:", l.ip("addr", "show", "eth0"))
	l.has("default via fe80::", l.ip("-6", "route"))
	stop()
	l.stopServer()
	l.netd(nodeconfig.Network{Interfaces: []nodeconfig.Interface{{Name: "eth0", IPv6: nodeconfig.RA}}})
	l.expect(5*time.Second, "STATUS=eth0\n")
	if got := l.resolvConf(); got != want {
		t.Errorf("resolv.conf after a restart: %q", got)
	}
}

func TestLiveIPv6Off(t *testing.T) {
	l := newLab(t)
	l.netd(nodeconfig.Network{Interfaces: []nodeconfig.Interface{{Name: "eth0", IPv6: nodeconfig.Off}}})
	l.expect(5*time.Second, "STATUS=eth0\n")
	if a := l.ip("addr", "show", "eth0"); strings.Contains(a, "inet6") {
		t.Errorf("IPv6 address:\n%s", a)
	}
}

// What CNI makes is left alone; an interface of ours that appears later is not.
func TestLiveOwnership(t *testing.T) {
	l := newLab(t)
	l.serve(oneRange)
	l.ip("link", "add", "cni0", "type", "bridge")
	defer l.ip("link", "del", "cni0")
	l.ip("link", "set", "eth0", "name", "later")
	l.netd(dhcp)
	l.expect(10*time.Second, "X_FAULT=no network interface\n")
	for _, name := range []string{"cni0", "later"} {
		if s := l.ip("link", "show", name); !strings.Contains(s, "state DOWN") {
			t.Errorf("%s was touched:\n%s", name, s)
		}
	}
	l.ip("link", "set", "later", "name", "eth0")
	l.expect(10*time.Second, gotIt)
	l.ip("link", "del", "eth0")
	l.expect(5*time.Second, "STATUS=\n")
}
