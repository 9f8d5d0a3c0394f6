// Package netd is the network daemon: loopback, links, DHCPv4 leases, static addresses and resolv.conf.
//
// It owns every physical Ethernet interface and those that the configuration
// names, from the moment they appear; bridges, veth pairs and whatever else
// CNI makes are left alone. An owned interface that the configuration does not
// mention gets DHCPv4 and the kernel's IPv6 router advertisements.
//
// Files, below /run/holdfast/netd:
//
//	network.json        read at the start: nodeconfig.Network
//	resolv.conf         written: name servers configured, or of DHCP and RA
//	leases/NAME.json    the lease of an interface, for the next start
//	rdnss.json          name servers that came with router advertisements
//	time/dhcp.json      written: time servers of DHCP, for timed
//
// Goroutines: the daemon owns resolv.conf, status and faults; one worker per
// interface owns its addresses, routes and lease. A worker drives a machine,
// which is pure and decides what DHCP does next.
//
// # Decisions
//
// A stop leaves addresses and routes as they are, and the next start asks the
// server whether the lease still holds, so that a restart cuts no pod off. If
// netd never came back, the kernel would take the address away when the lease
// ends: no two hosts share one.
//
// Packets are read here rather than by nclient4: it takes the length of a UDP
// payload from the IP header unchecked, so that one short datagram from anybody
// on the link would end the process, and it wakes up for every packet.
//
// Times are CLOCK_BOOTTIME: a clock that is set, or a machine that slept, does
// not change when a lease ends.
//
// Not supported: DHCPv6, DHCPDECLINE after an ARP probe, bonds and VLANs.
package netd

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/services/sandbox"
)

// Dir is where netd's files are.
const Dir = "/run/holdfast/netd"

// Spec is how PID 1 runs the service. Confined as package sandbox says, it can
// still:
//
//   - change links, addresses, routes and the packet filter of the host, and
//     read and write all net.* sysctls;
//   - send and receive any packet, and listen on any port;
//   - write below Dir, and so name the name servers that kubelet, containerd
//     and pods ask.
//
// It can't reach the state volume, devices, other processes' memory or
// /proc, containerd's socket, or the files that kubelet reads.
func Spec() *specs.Spec {
	s := sandbox.Spec("netd", "/usr/bin/holdfastd", "netd")
	s.Process.Env = []string{"GOGC=50", "GOMAXPROCS=2"} // it mostly sleeps
	sandbox.Grant(s,
		"CAP_NET_ADMIN",        // links, addresses, routes, net.* sysctls
		"CAP_NET_RAW",          // packets before there is an address
		"CAP_NET_BIND_SERVICE", // UDP port 68
	)
	s.Mounts = append(s.Mounts, sandbox.Bind(Dir), sandbox.Bind("/proc/sys/net"))
	s.Linux.Seccomp = sandbox.Go(append(
		sandbox.Sockets(unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET),
		sandbox.WriteFiles())...)
	memory, pids := int64(64<<20), int64(64)
	s.Linux.Resources = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
	s.Annotations = map[string]string{
		"holdfast.type":        "notify",
		"holdfast.requires":    "config",
		"holdfast.early":       "true",
		"holdfast.restart":     "always",
		"holdfast.critical":    "true",
		"holdfast.directories": Dir,
	}
	return s
}
