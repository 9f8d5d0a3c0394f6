// Package nodeconfig is the schema of a node's one YAML document and its strict parser.
//
//	apiVersion: holdfast/v1
//	kind: NodeConfig
//	hostname: node-1
//	api:
//	  clientBundle: |            # who may use the API: what holdfast pki bundle prints
//	network:
//	  interfaces:                # others that are physical: DHCP and router advertisements
//	  - name: eth0               # or mac: 52:54:00:12:34:56
//	    dhcp4: false             # default: true when there is no valid address
//	    ipv6: ra                 # or off
//	    addresses: [192.0.2.10/24]
//	    gateway: 192.0.2.1
//	    routes: [{to: 198.51.100.0/24, via: 192.0.2.254}]
//	    mtu: 1500
//	  nameservers: [192.0.2.53]  # instead of the ones that DHCP and RA bring
//	  search: [example.org]
//	time:
//	  servers: [time.example.org, 192.0.2.123]  # NTP, instead of the ones that DHCP brings
//	  ptp: true                  # the hypervisor's clock, where it has one, before any server
//	kubelet:                     # see the type Kubelet
//	  maxPods: 50
//	cluster:                     # absent: standalone, static pods only
//	  server: https://192.0.2.100:6443
//	  caCertificate: |
//	    -----BEGIN CERTIFICATE-----
//	  bootstrapToken: abcdef.0123456789abcdef
//	staticPods:
//	- {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {…}}
//	registries:
//	  mirrors:
//	    docker.io:
//	      endpoints: [https://mirror.example.org]
//	      caCertificate: |       # optional
//	demo: false                  # the built-in pod; true only when there is no document
//
// # Decisions
//
// A typo must never cost a node: every fault is one line with its path and
// line number, and all the rest of the document applies.
//
// Values are checked as strictly as the programs that will read them, because
// kubelet ends on a value that it dislikes.
//
// Aliases are not followed at all, so that no document can grow while it is
// read. Nothing in the schema names a program, a file or an environment
// variable of the host: configuration is data.
package nodeconfig

import (
	"fmt"
	"net/netip"
)

// The only document that there is.
const (
	APIVersion = "holdfast/v1"
	Kind       = "NodeConfig"
)

// MaxSize is how long a document may be, in bytes.
const MaxSize = 1 << 20

// Config is what a document says, completed by defaults.
type Config struct {
	Hostname   string // empty: not given
	API        API
	Network    Network
	Time       Time
	Kubelet    Kubelet
	Cluster    *Cluster // nil: standalone
	StaticPods []Pod
	Mirrors    []Mirror
	Demo       bool
}

// Network is what netd applies; it travels as JSON.
type Network struct {
	Interfaces  []Interface  `json:"interfaces,omitempty"`
	Nameservers []netip.Addr `json:"nameservers,omitempty"`
	Search      []string     `json:"search,omitempty"`
}

// Interface is one network interface, known by its name or its MAC address.
type Interface struct {
	Name      string         `json:"name,omitempty"`
	MAC       string         `json:"mac,omitempty"` // lower case, colons
	DHCP4     bool           `json:"dhcp4"`
	IPv6      IPv6           `json:"ipv6"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	Routes    []Route        `json:"routes,omitempty"`
	MTU       int            `json:"mtu,omitempty"` // 0: DHCP's, or the device's
}

// IPv6 says where an interface's IPv6 addresses come from.
type IPv6 string

const (
	RA  IPv6 = "ra"  // router advertisements, in the kernel
	Off IPv6 = "off" // no IPv6 at all
)

// Route is one static route.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
}

// Time is what timed applies; it travels as JSON.
type Time struct {
	Servers []string `json:"servers,omitempty"` // host names or addresses
	PTP     bool     `json:"ptp"`               // whether a hypervisor's clock is used
}

// Kubelet holds the kubelet options that may be changed. Names and meanings
// are those of KubeletConfiguration, kubelet.config.k8s.io/v1beta1, but for
// labels, taints and verbosity, which kubelet takes elsewhere.
type Kubelet struct {
	NodeLabels                  map[string]string // set when the node joins a cluster
	NodeTaints                  []Taint           // likewise; written key=value:Effect
	MaxPods                     int
	PodPidsLimit                int // -1: no limit
	EvictionHard                map[string]string
	SystemReserved              map[string]string
	KubeReserved                map[string]string
	ImageGCHighThresholdPercent int
	ImageGCLowThresholdPercent  int
	ContainerLogMaxSize         string
	ContainerLogMaxFiles        int
	LogVerbosity                int
	CPUManagerPolicy            string
	TopologyManagerPolicy       string
	CPUCFSQuota                 bool
	ClusterDNS                  []netip.Addr
	ClusterDomain               string
}

// Taint keeps pods that do not tolerate it away.
type Taint struct{ Key, Value, Effect string }

// Cluster is how a node joins: kubelet's TLS bootstrap.
type Cluster struct {
	Server         string
	CACertificate  string // PEM
	BootstrapToken string
}

// Pod is a static pod. Its manifest is handed to kubelet as it was written.
type Pod struct {
	Namespace, Name string
	Manifest        []byte
}

// Mirror is where containerd looks for a registry's images before it asks the
// registry itself.
type Mirror struct {
	Registry      string // host[:port], or _default
	Endpoints     []string
	CACertificate string // PEM, optional
}

// Fault is one thing in a document that does not apply.
type Fault struct {
	Source string // which document
	Line   int    // 0: the document as a whole
	Path   string // such as network.interfaces[0].mtu
	Text   string // what is wrong and what was expected
}

func (f Fault) String() string {
	s := f.Source
	if f.Line > 0 {
		s += fmt.Sprintf(" line %d", f.Line)
	}
	if f.Path != "" {
		s += ": " + f.Path
	}
	return s + ": " + f.Text
}

// Default is the configuration of a node that was given no document.
func Default() *Config {
	c := base()
	c.Demo = true
	return c
}

func base() *Config {
	return &Config{Time: Time{PTP: true}, Kubelet: Kubelet{
		MaxPods:      110,
		PodPidsLimit: -1,
		EvictionHard: map[string]string{
			"memory.available":   "100Mi",
			"nodefs.available":   "10%",
			"nodefs.inodesFree":  "5%",
			"imagefs.available":  "15%",
			"imagefs.inodesFree": "5%",
		},
		// What containerd, kubelet and the node's own daemons were seen to hold.
		SystemReserved:              map[string]string{"memory": "64Mi"},
		KubeReserved:                map[string]string{"memory": "160Mi"},
		ImageGCHighThresholdPercent: 85,
		ImageGCLowThresholdPercent:  80,
		ContainerLogMaxSize:         "10Mi",
		ContainerLogMaxFiles:        5,
		LogVerbosity:                1,
		CPUManagerPolicy:            "none",
		TopologyManagerPolicy:       "none",
		CPUCFSQuota:                 true,
		ClusterDomain:               "cluster.local",
	}}
}
