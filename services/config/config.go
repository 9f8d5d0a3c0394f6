// Package config is the oneshot service that turns the node's configuration document into files under /run/holdfast.
//
// The first source that is there wins:
//
//	QEMU's fw_cfg  opt/holdfast/config
//	a disk labelled cidata (vfat or iso9660, as for NoCloud), file user-data
//
// Written are:
//
//	netd/network.json      for netd
//	timed/time.json        for timed
//	hostname, hosts        the node's name; hosts stands behind /etc/hosts
//	kubelet.yaml           KubeletConfiguration
//	manifests/*.yaml       static pods
//	certs.d/*/hosts.toml   containerd's registry mirrors
//	kubelet-flags          what has no place in KubeletConfiguration
//	api-clients.pem        who may use the API
//	with a cluster: bootstrap-kubeconfig, ca.crt
//
// # Decisions
//
// No fault in a document makes the service fail: what is left of the document
// applies, and each fault goes to the supervisor.
//
// Sources are looked for once. The kernel has probed its disks before PID 1
// finds the root on one of them, and waiting would delay every node that was
// given no document.
//
// A cidata disk is read here and not mounted: mounting takes CAP_SYS_ADMIN,
// with which a fault in this program would be the node's, and the kernel's
// file systems are not made for disks that an attacker wrote.
//
// hosts names the node as 127.0.1.1, as Debian does: kubelet looks its own
// name up for every pod that it admits, and must not wait for a name server
// that does not answer.
package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"holdfast/services/nodeconfig"
	"holdfast/services/notify"
	"holdfast/services/sandbox"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec is how PID 1 runs the service. Confined as package sandbox says, it can
// still:
//
//   - write all of /run/holdfast, and so say what kubelet, containerd and netd
//     do: whoever takes it over while it reads a document has the node;
//   - write the state volume, which is mounted while it waits at its gate and
//     arrives by propagation, and forget kubelet's CPU pinning there;
//   - set the host name, and read any disk.
//
// It has no capability and no network, and sees no other process.
func Spec() *specs.Spec {
	s := sandbox.Spec("config", "/usr/bin/holdfastd", "config")
	s.Mounts = append(s.Mounts, sandbox.Bind(Dir), sandbox.Bind(hostnameFile))
	s.Linux.RootfsPropagation = "rslave"
	s.Linux.MaskedPaths = slices.DeleteFunc(s.Linux.MaskedPaths, func(p string) bool { return p == "/sys" || p == "/dev" || p == "/var" })
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/sys/fs", "/sys/kernel", "/sys/firmware/acpi", "/sys/firmware/efi")
	memory, pids := int64(128<<20), int64(64)
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids}}
	s.Linux.Seccomp = sandbox.Go(append(sandbox.Sockets(syscall.AF_UNIX), sandbox.WriteFiles())...)
	s.Annotations = map[string]string{
		"holdfast.early":    "true",
		"holdfast.type":     "oneshot",
		"holdfast.restart":  "on-failure",
		"holdfast.critical": "true",
	}
	return s
}

// hostnameFile sets the host name as sethostname(2) does, and wants root
// instead of CAP_SYS_ADMIN (kernel/utsname_sysctl.c).
const hostnameFile = "/proc/sys/kernel/hostname"

// host is where things stand on a node.
type host struct {
	fwCfg, sysBlock, dev string
	run                  string
	demo                 string
	kubelet              string
	machineID, memInfo   string
}

func node() host {
	return host{
		fwCfg:     "/sys/firmware/qemu_fw_cfg/by_name/opt/holdfast/config/raw",
		sysBlock:  "/sys/class/block",
		dev:       "/dev",
		run:       Dir,
		demo:      "/usr/share/holdfast/manifests/demo.yaml",
		kubelet:   "/var/lib/kubelet",
		machineID: "/etc/machine-id",
		memInfo:   "/proc/meminfo",
	}
}

// Run reads the document, writes the files, sets the host name and reports
// every fault.
func Run(_ context.Context) error {
	name, faults, err := node().apply()
	if err != nil {
		return err
	}
	if err := os.WriteFile(hostnameFile, []byte(name), 0); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	s := notify.FromEnvironment()
	for _, f := range faults {
		err = errors.Join(err, s.Fault("%s", f))
	}
	return errors.Join(err, s.Ready())
}

// apply does all that a test can repeat anywhere.
func (h host) apply() (hostname string, faults []nodeconfig.Fault, err error) {
	if err := os.MkdirAll(h.run, 0o755); err != nil {
		return "", nil, err
	}
	doc, faults := h.find()
	c, more := nodeconfig.Parse(doc.data, doc.source)
	faults = append(faults, more...)
	d, err := h.defaults()
	if err != nil {
		return "", nil, err
	}
	files, more := Render(c, d)
	faults = append(faults, more...)
	if err := h.forgetPinning(); err != nil { // /var may be full or read-only
		faults = append(faults, nodeconfig.Fault{Source: "node", Path: "kubelet.cpuManagerPolicy", Text: err.Error()})
	}
	return c.Hostname, faults, write(h.run, files)
}

// defaults are the machine's own contributions.
func (h host) defaults() (Defaults, error) {
	d := Defaults{Hostname: "holdfast", CPUs: runtime.NumCPU()}
	id, err := os.ReadFile(h.machineID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if id = bytes.TrimSpace(id); len(id) == 32 {
		d.Hostname = "holdfast-" + string(id[:8])
	}
	if d.Demo, err = os.ReadFile(h.demo); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	info, err := os.ReadFile(h.memInfo)
	if err != nil {
		return d, err
	}
	d.MemoryBytes = memTotal(string(info))
	return d, nil
}

// memTotal reads /proc/meminfo; 0 when it cannot tell.
func memTotal(info string) int64 {
	for line := range strings.Lines(info) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// forgetPinning removes which pod had which CPU before the reboot: kubelet
// ends when that was written under another policy than it has now. Once
// kubelet.yaml is there, kubelet may be running and its notes are current.
func (h host) forgetPinning() error {
	if _, err := os.Stat(filepath.Join(h.run, "kubelet.yaml")); err == nil {
		return nil
	}
	for _, name := range []string{"cpu_manager_state", "memory_manager_state"} {
		if err := os.Remove(filepath.Join(h.kubelet, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget CPU pinning: %w", err)
		}
	}
	return nil
}
