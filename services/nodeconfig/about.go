package nodeconfig

// about says what each key means. A list's items are at "[]", the values of
// free keys at "*".
var about = map[string]string{
	"": "What a Holdfast node is told about itself. A key that is unknown or wrong costs only itself: it becomes a fault, and the rest applies.",

	"apiVersion": "The version of this schema.",
	"kind":       "The kind of document.",
	"hostname":   "The node's name, also in its cluster. Without it a name is made from the machine id.",
	"demo":       "Run the built-in pod. Without any document it runs, too.",

	"api":              "Who may use the node's API.",
	"api.clientBundle": "Authorities whose clients may use the API, and their revocations, as 'holdfast pki bundle' prints them. Without it nobody may.",

	"time":         "Where the node's time comes from.",
	"time.servers": "NTP servers, names or addresses, instead of the ones that DHCP names.",
	"time.ptp":     "Follow the hypervisor's clock (KVM, Hyper-V) where there is one, before any server.",

	"network":                           "Addresses, routes and name servers.",
	"network.interfaces":                "Interfaces that need more than DHCP and router advertisements, which all others that are physical get.",
	"network.interfaces[].name":         "The interface's name; either this or mac.",
	"network.interfaces[].mac":          "The interface's hardware address; either this or name.",
	"network.interfaces[].dhcp4":        "Ask for an IPv4 address by DHCP. Without the key: only when there is no valid entry in addresses.",
	"network.interfaces[].ipv6":         "Where IPv6 addresses come from: ra is router advertisements, off is no IPv6 at all.",
	"network.interfaces[].addresses":    "Addresses with their prefix length.",
	"network.interfaces[].gateway":      "The default route's gateway.",
	"network.interfaces[].routes":       "Static routes.",
	"network.interfaces[].routes[].to":  "The network that the route leads to.",
	"network.interfaces[].routes[].via": "The gateway, of the same IP version.",
	"network.interfaces[].mtu":          "The longest packet, in bytes. Without the key: what DHCP says, or else the device.",
	"network.nameservers":               "Name servers, instead of the ones that DHCP and router advertisements bring.",
	"network.search":                    "Domains in which names without a dot are looked up.",

	"kubelet":                             "Options of kubelet that may be changed. Names and meanings are those of KubeletConfiguration (kubelet.config.k8s.io/v1beta1), but for labels, taints and verbosity, which kubelet takes elsewhere.",
	"kubelet.nodeLabels":                  "Labels that the node gives itself when it joins a cluster.",
	"kubelet.nodeTaints":                  "Taints that the node has when it joins a cluster, written key=value:Effect.",
	"kubelet.maxPods":                     "How many pods may run.",
	"kubelet.podPidsLimit":                "How many processes a pod may have; -1: no limit.",
	"kubelet.evictionHard":                "Below which thresholds kubelet ends pods. A key changes only itself; the others keep their defaults.",
	"kubelet.systemReserved":              "Resources that pods don't get because the system needs them.",
	"kubelet.kubeReserved":                "Resources that pods don't get because kubelet and containerd need them.",
	"kubelet.imageGCHighThresholdPercent": "How full the disk may become before kubelet removes unused images.",
	"kubelet.imageGCLowThresholdPercent":  "Down to how full it removes them; less than imageGCHighThresholdPercent.",
	"kubelet.containerLogMaxSize":         "How large a container's log file becomes before it is rotated.",
	"kubelet.containerLogMaxFiles":        "How many log files a container keeps.",
	"kubelet.logVerbosity":                "How much kubelet logs.",
	"kubelet.cpuManagerPolicy":            "static gives pods of whole CPUs their own ones; it needs a cpu amount in systemReserved or kubeReserved.",
	"kubelet.topologyManagerPolicy":       "How CPUs and devices are placed on NUMA nodes.",
	"kubelet.cpuCFSQuota":                 "Enforce CPU limits of containers.",
	"kubelet.clusterDNS":                  "Name servers of pods: the cluster's DNS service.",
	"kubelet.clusterDomain":               "The cluster's DNS domain.",

	"cluster":                "The cluster that the node joins, by kubelet's TLS bootstrap. Without it the node runs static pods only.",
	"cluster.server":         "The API server's URL.",
	"cluster.caCertificate":  "Certificates (PEM) of the authority that the API server's certificate is from.",
	"cluster.bootstrapToken": "The token with which the node asks for its certificate. No fault ever shows it.",

	"staticPods":                      "Manifests of pods that the node runs by itself.",
	"staticPods[].apiVersion":         "The manifest's version.",
	"staticPods[].kind":               "The manifest's kind.",
	"staticPods[].metadata":           "The pod's name and more, as in any manifest.",
	"staticPods[].metadata.name":      "The pod's name.",
	"staticPods[].metadata.namespace": "The pod's namespace.",

	"registries":                         "Where images come from.",
	"registries.mirrors":                 "For a registry (host[:port], or _default for all others), where containerd looks for its images before it asks the registry itself.",
	"registries.mirrors.*.endpoints":     "The mirrors' URLs, in order.",
	"registries.mirrors.*.caCertificate": "Certificates (PEM) of the authority that the mirrors' certificates are from.",
}
