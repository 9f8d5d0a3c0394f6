// Package sandbox is what the confinement of our own daemons has in common: what they see, and which system calls they may make.
//
// A daemon begins with nothing: no capability, a read-only root without the
// state volume, devices and run-time files, its own /proc with its own
// processes, and the system calls of a Go program that computes. Its package
// adds what it needs, and says what that allows.
//
// # Decisions
//
// A system call that is not on the list fails with EPERM, so that a new version
// of Go or of a library that tries something new falls back instead of taking
// the service down. Those that only an intruder would try end the process:
// changing namespaces and mounts, reading other processes, loading code into
// the kernel.
//
// No page can become executable: the programs are static, and Go's runtime
// makes no code. execve is allowed, since the filter is there before the
// program is; what it starts has the same confinement.
package sandbox

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec returns the specification of a program that may do nothing but run and
// notify the supervisor.
func Spec(name string, args ...string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args:            args,
			Cwd:             "/",
			Capabilities:    &specs.LinuxCapabilities{},
			NoNewPrivileges: true,
		},
		Root: &specs.Root{Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"ro", "nosuid", "nodev", "noexec"}},
			{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "nosuid", "nodev", "noexec", "mode=0755", "size=64k"}},
			Bind("/run/holdfast/notify/" + name),
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.CgroupNamespace},
			},
			RootfsPropagation: "rprivate",
			MaskedPaths: []string{
				"/dev", "/sys", "/var", "/opt", "/tmp",
				"/proc/acpi", "/proc/bus", "/proc/config.gz", "/proc/fs", "/proc/irq", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/kmsg",
				"/proc/kpagecount", "/proc/kpageflags", "/proc/scsi", "/proc/sysrq-trigger", "/proc/timer_list",
			},
		},
		Annotations: map[string]string{},
	}
}

// Bind shows a path of the host, as writable as it is there.
func Bind(path string) specs.Mount {
	return specs.Mount{Destination: path, Source: path, Type: "bind", Options: []string{"bind", "nosuid", "nodev", "noexec"}}
}

// Show shows a path of the host, read-only.
func Show(path string) specs.Mount {
	m := Bind(path)
	m.Options = append(m.Options, "ro")
	return m
}

// Empty puts an empty directory in the place of one of the host, for what is
// bound below it to be seen alone.
func Empty(s *specs.Spec, path string) {
	s.Linux.MaskedPaths = slices.DeleteFunc(s.Linux.MaskedPaths, func(p string) bool { return p == path })
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: path, Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "nosuid", "nodev", "noexec", "mode=0755", "size=64k"},
	})
}

// Yield leaves the processor to the other services while they want it: nothing
// on the way to a running pod waits for this one.
func Yield(s *specs.Spec) {
	if s.Linux.Resources == nil {
		s.Linux.Resources = &specs.LinuxResources{}
	}
	s.Linux.Resources.Unified = map[string]string{"cpu.weight": "10"}
}

// Grant gives the process capabilities, which nothing that it executes can
// exceed.
func Grant(s *specs.Spec, names ...string) {
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}
