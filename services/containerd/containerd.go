// Package containerd is the container runtime's service: its specification, its configuration, and the network of pods without a cluster.
package containerd

import (
	_ "embed"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/services/sandbox"
)

// Where the files belong on the root file system.
const (
	ConfigFile     = "/etc/containerd/config.toml"
	CNIFile        = "/etc/cni/net.d/99-holdfast.conflist"
	MasqueradeFile = "/usr/lib/holdfast/masquerade.nft"
	ImagesDir      = "/usr/share/holdfast/images"
	Socket         = "/run/containerd/containerd.sock"
)

//go:embed config.toml
var config string

//go:embed 99-holdfast.conflist
var conflist string

// Config returns containerd's configuration with the image that holds a pod's namespaces.
func Config(pauseImage string) string {
	return strings.ReplaceAll(config, "@PAUSE@", pauseImage)
}

// DefaultCNI returns the network that pods have until a cluster brings its own:
// a bridge and host ports, by nftables alone. The firewall plugin is not in it:
// it knows only iptables and firewalld. Leases are in /run, because no pod
// outlives a boot.
func DefaultCNI() string { return conflist }

//go:embed masquerade.nft
var masquerade string

// MasqueradeRules returns what lets pods of the default network out. The bridge
// plugin could do that, with four executions of nft for each pod.
func MasqueradeRules() string { return masquerade }

// Masquerade returns the service that loads the rules once. Confined as package
// sandbox says, it can still change links, addresses, routes and the packet
// filter of the host, through netlink alone. It writes no file.
func Masquerade() *specs.Spec {
	s := sandbox.Spec("masquerade", "/usr/sbin/nft", "-f", MasqueradeFile)
	sandbox.Grant(s, "CAP_NET_ADMIN")
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace})
	s.Linux.Seccomp = sandbox.C(sandbox.Sockets(syscall.AF_NETLINK)...)
	sandbox.Yield(s)
	s.Annotations = map[string]string{
		"holdfast.requires": "containerd", // which needs the processor first
		"holdfast.type":     "oneshot",
		"holdfast.restart":  "on-failure",
	}
	return s
}

// Spec returns the service. Containers live in /kubepods and shims must outlive
// a restart of containerd, so stopping it signals the main process only. It
// has no noNewPrivileges, which every container would inherit. It requires nothing,
// so that it starts beside the network: CRI listens on the loopback address,
// which PID 1 has brought up.
func Spec() *specs.Spec {
	oomScore := -999
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: []string{"/usr/bin/containerd", "--config", ConfigFile},
			Env:  []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin"},
			Cwd:  "/",
			// Go raises its own soft limit and gives children the old one back.
			Rlimits:     []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1 << 19}},
			OOMScoreAdj: &oomScore,
		},
		Linux: &specs.Linux{CgroupsPath: "/system/containerd", Resources: &specs.LinuxResources{
			Unified: map[string]string{"memory.min": "67108864"}, // what it needs when the node is short of memory
		}},
		Annotations: map[string]string{
			"holdfast.early":    "true",
			"holdfast.type":     "notify",
			"holdfast.stop":     "main",
			"holdfast.critical": "true",
		},
	}
}
