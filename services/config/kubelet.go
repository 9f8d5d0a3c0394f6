package config

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/services/nodeconfig"
)

// kubeletConfiguration is kubelet.config.k8s.io/v1beta1, KubeletConfiguration.
// Numbers in comments are of the CIS Kubernetes Benchmark, section 4.2.
func kubeletConfiguration(c *nodeconfig.Config) map[string]any {
	k := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",

		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"staticPodPath":            Dir + "/manifests",
		"resolvConf":               Dir + "/netd/resolv.conf",
		"volumePluginDir":          "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
		// A pod that is seen before the first check of the runtime is over waits
		// for the next look at its manifest: 20 s by default.
		"fileCheckFrequency": "1s",
		"syncFrequency":      "10s",

		"cgroupDriver":           "cgroupfs",
		"cgroupsPerQOS":          true,
		"enforceNodeAllocatable": []string{"pods"},
		"failSwapOn":             false,
		"seccompDefault":         true,
		"hairpinMode":            "hairpin-veth",
		// kube-proxy makes its own chains.
		"makeIPTablesUtilChains":          false, // 4.2.7 asks for the rules, not for kubelet making them
		"shutdownGracePeriod":             "30s", // within the stop deadline of kubelet's service
		"shutdownGracePeriodCriticalPods": "10s",
		// An unused image may be a built-in one that no registry has.
		"imageMaximumGCAge":     "0s",
		"serializeImagePulls":   false,
		"maxParallelImagePulls": 3,

		"readOnlyPort":                   0,       // 4.2.4
		"streamingConnectionIdleTimeout": "5m0s",  // 4.2.5
		"eventRecordQPS":                 50,      // 4.2.8
		"rotateCertificates":             true,    // 4.2.10
		"tlsCipherSuites":                ciphers, // 4.2.12
		"tlsMinVersion":                  "VersionTLS12",
		"healthzBindAddress":             "127.0.0.1",
		"healthzPort":                    10248,
	}
	options(k, &c.Kubelet)
	if c.Cluster == nil {
		standalone(k)
	} else {
		joined(k, &c.Kubelet)
	}
	return k
}

var ciphers = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

func options(k map[string]any, o *nodeconfig.Kubelet) {
	k["maxPods"] = o.MaxPods
	k["podPidsLimit"] = o.PodPidsLimit // 4.2.13
	k["evictionHard"] = o.EvictionHard
	k["systemReserved"] = o.SystemReserved
	k["kubeReserved"] = o.KubeReserved
	k["imageGCHighThresholdPercent"] = o.ImageGCHighThresholdPercent
	k["imageGCLowThresholdPercent"] = o.ImageGCLowThresholdPercent
	k["containerLogMaxSize"] = o.ContainerLogMaxSize
	k["containerLogMaxFiles"] = o.ContainerLogMaxFiles
	k["cpuManagerPolicy"] = o.CPUManagerPolicy
	k["topologyManagerPolicy"] = o.TopologyManagerPolicy
	k["cpuCFSQuota"] = o.CPUCFSQuota
	k["clusterDomain"] = o.ClusterDomain
	k["logging"] = map[string]any{"format": "text", "verbosity": o.LogVerbosity}
	if len(o.ClusterDNS) > 0 {
		var dns []string
		for _, a := range o.ClusterDNS {
			dns = append(dns, a.String())
		}
		k["clusterDNS"] = dns
	}
}

// standalone: without a cluster nobody can be authenticated, so kubelet's
// server admits nobody, and listens on loopback only.
func standalone(k map[string]any) {
	k["address"] = "127.0.0.1"
	k["authentication"] = authentication(false, "")
	k["authorization"] = map[string]any{"mode": "AlwaysAllow"}
	k["enableControllerAttachDetach"] = false
}

func joined(k map[string]any, o *nodeconfig.Kubelet) {
	k["authentication"] = authentication(true, Dir+"/ca.crt") // 4.2.1, 4.2.3
	k["authorization"] = map[string]any{"mode": "Webhook"}    // 4.2.2
	k["serverTLSBootstrap"] = true                            // 4.2.9, 4.2.11
	k["protectKernelDefaults"] = true                         // 4.2.6; PID 1 has set them
	var taints []any
	for _, t := range o.NodeTaints {
		taints = append(taints, map[string]any{"key": t.Key, "value": t.Value, "effect": t.Effect})
	}
	if taints != nil {
		k["registerWithTaints"] = taints
	}
}

func authentication(webhook bool, clientCA string) map[string]any {
	a := map[string]any{
		"anonymous": map[string]any{"enabled": false},
		"webhook":   map[string]any{"enabled": webhook},
	}
	if clientCA != "" {
		a["x509"] = map[string]any{"clientCAFile": clientCA}
	}
	return a
}

// fit takes back reservations that the machine does not have: kubelet would
// end on them, and with eviction below them it would run nothing.
func fit(k *nodeconfig.Kubelet, d Defaults) []nodeconfig.Fault {
	preset := nodeconfig.Default().Kubelet
	var faults []nodeconfig.Fault
	takeBack := func(resource string, has int64) {
		faults = append(faults, nodeconfig.Fault{Source: "node", Path: "kubelet",
			Text: fmt.Sprintf("systemReserved, kubeReserved and evictionHard ask for %s of %s, expected less than the machine's %d; the defaults apply",
				amountOf(k, resource, has), resource, has/1000)})
		k.SystemReserved, k.KubeReserved, k.EvictionHard = preset.SystemReserved, preset.KubeReserved, preset.EvictionHard
		k.CPUManagerPolicy = preset.CPUManagerPolicy // static needs a reservation
	}
	for _, r := range []struct {
		resource string
		has      int64 // thousandths
	}{{"cpu", int64(d.CPUs) * 1000}, {"memory", d.MemoryBytes * 1000}} {
		if r.has > 0 && asked(k, r.resource, r.has) >= r.has {
			takeBack(r.resource, r.has)
		}
	}
	return faults
}

func amountOf(k *nodeconfig.Kubelet, resource string, has int64) string {
	return strconv.FormatFloat(float64(asked(k, resource, has))/1000, 'f', -1, 64)
}

// asked is what is kept from pods, in thousandths.
func asked(k *nodeconfig.Kubelet, resource string, has int64) int64 {
	sum := nodeconfig.Amount(k.SystemReserved[resource]) + nodeconfig.Amount(k.KubeReserved[resource])
	evict := k.EvictionHard[resource+".available"]
	if percent, ok := strings.CutSuffix(evict, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		if err != nil {
			return sum
		}
		return sum + int64(f/100*float64(has))
	}
	return sum + nodeconfig.Amount(evict)
}
