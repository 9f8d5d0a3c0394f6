package services

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/services/containerd"
	"holdfast/services/kubelet"
)

func TestSpecsAreWhatPID1Takes(t *testing.T) {
	files, err := Specs()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all) {
		t.Errorf("%d files for %d services", len(files), len(all))
	}
}

// unconfined are other people's programs, which run the node and its pods.
var unconfined = map[string]func() *specs.Spec{"containerd": containerd.Spec, "kubelet": kubelet.Spec}

// reach is all that a daemon of ours has beyond package sandbox: a larger one
// is to be a decision, and not an accident.
var reach = map[string]struct{ capabilities, binds string }{
	"apid":       {"", "/run/holdfast/notify/apid /var/lib/holdfast/apid"},
	"config":     {"", "/run/holdfast/notify/config /run/holdfast /proc/sys/kernel/hostname"},
	"masquerade": {"CAP_NET_ADMIN", "/run/holdfast/notify/masquerade"},
	"timed":      {"CAP_SYS_TIME", "/run/holdfast/notify/timed /var/lib/holdfast/time"},
	"netd":       {"CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE", "/run/holdfast/notify/netd /run/holdfast/netd /proc/sys/net"},
}

func TestOwnDaemonsAreConfined(t *testing.T) {
	for name, of := range all {
		if unconfined[name] != nil {
			continue
		}
		s := of()
		var binds []string
		for _, m := range s.Mounts {
			if m.Type == "bind" && !slices.Contains(m.Options, "ro") {
				binds = append(binds, m.Destination)
			} else if !slices.Contains(m.Options, "ro") {
				t.Errorf("%s: %s is writable", name, m.Destination)
			}
		}
		want, c := reach[name], s.Process.Capabilities
		if got := strings.Join(binds, " "); got != want.binds {
			t.Errorf("%s writes to %q, want %q", name, got, want.binds)
		}
		if c == nil || strings.Join(c.Bounding, " ") != want.capabilities || strings.Join(c.Permitted, " ") != want.capabilities {
			t.Errorf("%s has capabilities %+v, want %s", name, c, want.capabilities)
		}
		if !s.Process.NoNewPrivileges || s.Root == nil || !s.Root.Readonly || s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
			t.Errorf("%s: no_new_privs, a read-only root or an allow list is missing", name)
		}
	}
}
