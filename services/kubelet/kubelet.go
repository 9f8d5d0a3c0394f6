// Package kubelet is the node agent's service: its specification, and the applet that starts kubelet with the flags that fit the node.
package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const program = "/usr/bin/kubelet"

// Files of the config service. The bootstrap configuration is there when the
// node is to join a cluster; without it kubelet runs static pods only.
const (
	ConfigFile    = "/run/holdfast/kubelet.yaml"
	HostnameFile  = "/run/holdfast/hostname"
	BootstrapFile = "/run/holdfast/bootstrap-kubeconfig"
	LabelsFile    = "/run/holdfast/node-labels" // beside the former; key=value,…
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

// Spec returns the service. It runs our applet, which becomes kubelet: flags
// depend on the node's configuration, and a specification is on the verified root.
func Spec() *specs.Spec {
	oomScore := -999
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args:        []string{"/usr/bin/holdfastd", "kubelet"},
			Env:         []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin"},
			Cwd:         "/",
			Rlimits:     []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1 << 19}},
			OOMScoreAdj: &oomScore,
		},
		Linux: &specs.Linux{CgroupsPath: "/system/kubelet", Resources: &specs.LinuxResources{
			Unified: map[string]string{"memory.min": "100663296"}, // what it needs when the node is short of memory
		}},
		Annotations: map[string]string{
			"holdfast.requires": "config",
			"holdfast.gate":     "containerd,netd",
			// Itself, and what its first pod executes, in that order.
			"holdfast.prefetch": "/usr/bin/kubelet /usr/bin/containerd-shim-runc-v2 /usr/bin/runc" +
				" /opt/cni/bin/bridge /opt/cni/bin/host-local /opt/cni/bin/portmap /usr/sbin/nft",
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

// node is what the flags depend on.
type node struct {
	hostname string // empty: the kernel's
	joins    bool
	labels   string
}

// Run replaces this process by kubelet; it returns only when that fails.
func Run() error {
	n, err := read()
	if err != nil {
		return err
	}
	if err := syscall.Exec(program, args(n), os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}

func read() (node, error) {
	var n node
	for _, f := range []struct {
		path string
		to   *string
	}{{HostnameFile, &n.hostname}, {LabelsFile, &n.labels}} {
		content, err := os.ReadFile(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, fmt.Errorf("read configuration: %w", err)
		}
		*f.to = strings.TrimSpace(string(content))
	}
	_, err := os.Stat(BootstrapFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("look for a cluster: %w", err)
	}
	n.joins = err == nil
	return n, nil
}

// args returns kubelet's argument vector.
func args(n node) []string {
	certs := volatileCertDir
	if n.joins {
		certs = certDir
	}
	out := []string{program, "--config=" + ConfigFile, "--root-dir=" + rootDir, "--cert-dir=" + certs}
	if n.hostname != "" {
		out = append(out, "--hostname-override="+n.hostname)
	}
	if n.joins {
		out = append(out, "--bootstrap-kubeconfig="+BootstrapFile, "--kubeconfig="+kubeconfig)
	}
	if n.joins && n.labels != "" { // KubeletConfiguration has no field for them
		out = append(out, "--node-labels="+n.labels)
	}
	return out
}
