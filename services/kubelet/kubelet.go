// Package kubelet is the node agent's service: its specification, and the flags that fit the node.
package kubelet

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Files of the config service.
const (
	ConfigFile    = "/run/holdfast/kubelet.yaml"
	FlagsFile     = "/run/holdfast/kubelet-flags"        // one a line
	BootstrapFile = "/run/holdfast/bootstrap-kubeconfig" // there when the node is to join a cluster
)

// State that kubelet keeps over boots.
const (
	rootDir    = "/var/lib/kubelet"
	certDir    = rootDir + "/pki"        // certificates that a cluster signed
	kubeconfig = rootDir + "/kubeconfig" // written by kubelet once its certificate is signed
)

// volatileCertDir holds the certificate that kubelet signs itself, a new one
// at each boot.
const volatileCertDir = "/run/kubelet/pki"

// Spec returns the service. Its flags depend on the node's configuration, and
// a specification is on the verified root: kubelet reads them from a file once
// it may pass its gate.
func Spec() *specs.Spec {
	oomScore := -999
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args:        []string{"/usr/bin/kubelet", "@" + FlagsFile},
			Env:         []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin"},
			Cwd:         "/",
			Rlimits:     []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1 << 19}},
			OOMScoreAdj: &oomScore,
		},
		Linux: &specs.Linux{CgroupsPath: "/system/kubelet", Resources: &specs.LinuxResources{
			Unified: map[string]string{"memory.min": "100663296"}, // what it needs when the node is short of memory
		}},
		Annotations: map[string]string{
			"holdfast.requires": "config,containerd,netd",
			"holdfast.early":    "true",
			"holdfast.drain":    "/kubepods",
			"holdfast.type":     "notify",
			"holdfast.stop":     "main",
			"holdfast.critical": "true",
			// It ends its pods first; that may take shutdownGracePeriod.
			"holdfast.signal-shutdown": "SIGUSR1",
			"holdfast.timeout-stop":    "40s",
		},
	}
}

// Flags returns kubelet's flags. Without a cluster to join it runs static pods
// only. Labels, key=value,…, have no field in KubeletConfiguration.
func Flags(hostname string, joins bool, labels string) []string {
	flags := []string{"--config=" + ConfigFile, "--root-dir=" + rootDir, "--hostname-override=" + hostname}
	if !joins {
		return append(flags, "--cert-dir="+volatileCertDir)
	}
	flags = append(flags, "--cert-dir="+certDir, "--bootstrap-kubeconfig="+BootstrapFile, "--kubeconfig="+kubeconfig)
	if labels != "" {
		flags = append(flags, "--node-labels="+labels)
	}
	return flags
}
