package nodeconfig

import (
	"net/netip"
	"slices"
	"strings"

	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

func (r *reader) kubelet(to *Kubelet) visit {
	return func(path string, n *yaml.Node) bool {
		ok := r.mapping(path, n, map[string]visit{
			"nodeLabels":                  r.texts(&to.NodeLabels, nodeLabel, func(_, v string) error { return labelValue(v) }),
			"nodeTaints":                  list(r, &to.NodeTaints, func(t *Taint) visit { return value(r, t, parseTaint, "!!str") }),
			"maxPods":                     r.integer(&to.MaxPods, 1, 1000),
			"podPidsLimit":                r.integer(&to.PodPidsLimit, -1, 1<<22),
			"evictionHard":                r.texts(&to.EvictionHard, oneOf(signals...), threshold),
			"systemReserved":              r.texts(&to.SystemReserved, oneOf(reservable...), reserved, "!!int", "!!float"),
			"kubeReserved":                r.texts(&to.KubeReserved, oneOf(reservable...), reserved, "!!int", "!!float"),
			"imageGCHighThresholdPercent": r.integer(&to.ImageGCHighThresholdPercent, 1, 100),
			"imageGCLowThresholdPercent":  r.integer(&to.ImageGCLowThresholdPercent, 0, 99),
			"containerLogMaxSize":         r.text(&to.ContainerLogMaxSize, wholeQuantity),
			"containerLogMaxFiles":        r.integer(&to.ContainerLogMaxFiles, 2, 100),
			"logVerbosity":                r.integer(&to.LogVerbosity, 0, 10),
			"cpuManagerPolicy":            r.text(&to.CPUManagerPolicy, oneOf("none", "static")),
			"topologyManagerPolicy":       r.text(&to.TopologyManagerPolicy, oneOf("none", "best-effort", "restricted", "single-numa-node")),
			"cpuCFSQuota":                 r.boolean(&to.CPUCFSQuota),
			"clusterDNS":                  list(r, &to.ClusterDNS, func(a *netip.Addr) visit { return r.address(a) }),
			"clusterDomain":               r.text(&to.ClusterDomain, domain),
		})
		r.note(func(s *schema.Schema) { s.Properties["podPidsLimit"].Not = &schema.Schema{Const: 0} })
		return ok
	}
}

var (
	signals = []string{
		"memory.available", "nodefs.available", "nodefs.inodesFree",
		"imagefs.available", "imagefs.inodesFree", "containerfs.available", "containerfs.inodesFree", "pid.available",
	}
	reservable = []string{"cpu", "memory", "ephemeral-storage", "pid"}
)

// together checks what one value alone cannot tell; kubelet would end on each.
func (r *reader) together(c *Config) {
	k, preset := &c.Kubelet, base().Kubelet
	if k.PodPidsLimit == 0 {
		r.fault("kubelet.podPidsLimit", nil, "is 0, expected -1 (no limit) or a number above 0; the default applies")
		k.PodPidsLimit = preset.PodPidsLimit
	}
	if k.ImageGCLowThresholdPercent >= k.ImageGCHighThresholdPercent {
		r.fault("kubelet.imageGCLowThresholdPercent", nil, "is %d, expected less than imageGCHighThresholdPercent, %d; the defaults apply to both",
			k.ImageGCLowThresholdPercent, k.ImageGCHighThresholdPercent)
		k.ImageGCLowThresholdPercent, k.ImageGCHighThresholdPercent = preset.ImageGCLowThresholdPercent, preset.ImageGCHighThresholdPercent
	}
	if k.CPUManagerPolicy == "static" && Amount(k.SystemReserved["cpu"])+Amount(k.KubeReserved["cpu"]) == 0 {
		r.fault("kubelet.cpuManagerPolicy", nil, "is static, expected a cpu amount in systemReserved or kubeReserved with it; none applies")
		k.CPUManagerPolicy = preset.CPUManagerPolicy
	}
}

// The labels below kubernetes.io and k8s.io that a node may give itself; on
// any other one kubelet ends.
var (
	ownLabels = []string{
		"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os",
		"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"node.kubernetes.io/instance-type",
	}
	ownLabelDomains = []string{"kubelet.kubernetes.io", "node.kubernetes.io"}
)

func nodeLabel(key string) error {
	if err := qualifiedName(key); err != nil {
		return &expectation{err.Error(), nodeLabelSchema()}
	}
	prefix, _, ok := strings.Cut(key, "/")
	if !ok || !within(prefix, "kubernetes.io") && !within(prefix, "k8s.io") || slices.Contains(ownLabels, key) {
		return nil
	}
	for _, d := range ownLabelDomains {
		if within(prefix, d) {
			return nil
		}
	}
	return expected("a label that a node may give itself: below kubernetes.io only those of node.kubernetes.io and kubelet.kubernetes.io")
}

// nodeLabelSchema says the same as nodeLabel.
func nodeLabelSchema() schema.Schema {
	s := schema.Schema{Pattern: "^" + keyPattern + "$", AnyOf: []*schema.Schema{
		{Not: &schema.Schema{Pattern: `^([^/]*\.)?(kubernetes|k8s)\.io/`}}, {},
	}}
	for _, l := range ownLabels {
		s.AnyOf[1].Enum = append(s.AnyOf[1].Enum, l)
	}
	for _, d := range ownLabelDomains {
		s.AnyOf = append(s.AnyOf, &schema.Schema{Pattern: `^([^/]*\.)?` + strings.ReplaceAll(d, ".", `\.`) + `/`})
	}
	return s
}

func within(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

func parseTaint(s string) (Taint, error) {
	want := expectedLike("a taint such as key=value:NoSchedule, with NoSchedule, PreferNoSchedule or NoExecute",
		keyPattern+`(?:=(?:`+valuePattern+`)?)?:(?:NoSchedule|PreferNoSchedule|NoExecute)`)
	name, effect, ok := strings.Cut(s, ":")
	if !ok || !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect) {
		return Taint{}, want
	}
	key, val, _ := strings.Cut(name, "=")
	if qualifiedName(key) != nil || labelValue(val) != nil {
		return Taint{}, want
	}
	return Taint{key, val, effect}, nil
}

func reserved(resource, s string) error {
	if resource == "pid" {
		return wholeQuantity(s)
	}
	return quantity(s)
}
