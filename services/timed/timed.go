// Package timed is the time daemon: it keeps the node's clock right by the hypervisor's clock or by NTP servers.
//
// A round measures the clock against the PTP clock of KVM or Hyper-V, or,
// where there is none, asks every server at the same time. What enough of them
// agree on (agree) goes through the discipline, which decides whether the
// clock is stepped, slewed by the kernel, or left alone, and when the next
// round is. Between rounds the daemon sleeps on one timer.
//
// Files:
//
//	/run/holdfast/timed/time.json      read: nodeconfig.Time
//	/run/holdfast/netd/time/dhcp.json  read again when it changes: servers that netd learnt
//	/var/lib/holdfast/time/last        its modification time is the last known time (floor)
//	/dev/timed/NAME                    the hypervisor's clock of that name, where there is one
//
// # Decisions
//
// There is no default server: a node asks nobody whom its operator or its
// network did not name. Without any source the kernel goes on with the
// machine's own clock, and the status says so.
//
// The service is ready at once. Until the first synchronisation the clock is
// not before the release's build time, which is enough for certificates; a node
// whose servers cannot be reached must come up too.
//
// Packets are read and written here. github.com/beevik/ntp v1.6.0 ends a query
// at the first packet that is not its answer, so that a stray one costs the
// round; it takes a kiss without a transmit time for a damaged packet; and it
// made a static program 370 KiB larger.
//
// A time before the build is no time: no server can take the clock there.
//
// Not supported: authentication (NTS), serving time to others, leap smearing
// (a server that smears is followed as it is).
package timed

import (
	"context"
	"slices"
	"syscall"

	"holdfast/init/floor"
	"holdfast/kernel/ptp"
	"holdfast/services/notify"
	"holdfast/services/sandbox"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Dir is where the files that timed reads are.
const Dir = "/run/holdfast"

// Spec is how PID 1 runs the service: as its own user. Confined as package
// sandbox says, it can still:
//
//   - set the clock of the host;
//   - send and receive UDP and TCP from unprivileged ports;
//   - read what netd has learnt, and write below floor.Dir.
//
// It sees no device but the hypervisor's clock, and can't set that.
func Spec() *specs.Spec {
	s := sandbox.Spec("timed", "/usr/bin/holdfastd", "timed")
	s.Process.Env = []string{"GOGC=50", "GOMAXPROCS=1"} // it mostly sleeps
	s.Process.User = specs.User{UID: floor.User, GID: floor.User}
	sandbox.Grant(s, "CAP_SYS_TIME")
	c := s.Process.Capabilities
	c.Inheritable, c.Ambient = c.Permitted, c.Permitted // a user's capabilities outlive exec only as ambient ones
	sandbox.Empty(s, "/var")
	sandbox.Empty(s, "/dev")
	devices := sandbox.Show(floor.Devices)
	devices.Options = slices.DeleteFunc(devices.Options, func(o string) bool { return o == "nodev" })
	s.Mounts = append(s.Mounts, sandbox.Show(Dir+"/timed"), sandbox.Show(Dir+"/netd"), sandbox.Bind(floor.Dir), devices)
	s.Linux.Seccomp = sandbox.Go(append(sandbox.Sockets(syscall.AF_UNIX, syscall.AF_INET, syscall.AF_INET6),
		sandbox.Calls("adjtimex", "inotify_init1", "inotify_add_watch", "utimensat"),
		sandbox.Request(ptp.Precise), sandbox.Request(ptp.Extended), sandbox.Request(ptp.Basic))...)
	memory, pids := int64(32<<20), int64(32)
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids}}
	sandbox.Yield(s)
	s.Annotations = map[string]string{
		"holdfast.type":     "notify",
		"holdfast.requires": "config,netd",
		"holdfast.restart":  "always",
	}
	return s
}

// Run is the daemon; it ends with ctx.
func Run(ctx context.Context) error {
	built, err := floor.Built(floor.BuildFile)
	if err != nil {
		return err
	}
	d := newDaemon(Dir, floor.LastFile, built, kernelClock{}, notify.FromEnvironment())
	d.openHost(floor.Devices)
	return d.run(ctx)
}
