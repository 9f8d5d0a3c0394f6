// Package components builds the programs that come from other projects: kubelet, containerd, runc and the CNI plugins.
//
// Each component is a Go module in a folder of its own, so that their
// dependency graphs never mix; its go.mod is the only place that names its
// version. Programs of other modules are tools of that go.mod.
package components

// Component is what one module builds.
type Component struct {
	Name string // also the folder
	// Upstream is the module whose version the programs show.
	Upstream string
	// VersionVars are the linker variables that hold that version.
	VersionVars []string
	// LinkVars are further linker variables, "name=value".
	LinkVars []string
	// Cgo programs are linked statically against the host's C libraries.
	Cgo      bool
	Programs []Program
}

// Program is one executable: a Go package, and the file it becomes.
//
// The build tags keep it small, measured on these versions:
//
//   - grpcnotrace: gRPC's tracing renders HTML templates, which call methods by name, so the linker must keep
//     every exported method of the program. Without it kubelet has 60 MB instead of 84;
//   - no_grpc: the shim is spoken to by ttrpc; 8 MB instead of 14;
//   - urfave_cli_no_docs: leaves out a command line library's manual page writer.
type Program struct {
	Package string
	File    string
	Tags    string
}

const plugins = "github.com/containernetworking/plugins"

// All returns every component.
func All() []Component {
	return []Component{
		{
			Name:     "kubelet",
			Upstream: "k8s.io/kubernetes",
			VersionVars: []string{
				"k8s.io/client-go/pkg/version.gitVersion",
				"k8s.io/component-base/version.gitVersion",
			},
			LinkVars: []string{ // the default is a git placeholder
				"k8s.io/client-go/pkg/version.gitCommit=",
				"k8s.io/component-base/version.gitCommit=",
			},
			Programs: []Program{{"holdfast/hack/components/kubelet", "kubelet", "grpcnotrace"}},
		},
		{
			Name:        "containerd",
			Upstream:    "github.com/containerd/containerd/v2",
			VersionVars: []string{"github.com/containerd/containerd/v2/version.Version"},
			Programs: []Program{
				{"holdfast/hack/components/containerd", "containerd", "grpcnotrace urfave_cli_no_docs"},
				{"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2",
					"grpcnotrace no_grpc urfave_cli_no_docs"},
			},
		},
		{
			Name:     "runc", // its version is in its source
			Upstream: "github.com/opencontainers/runc",
			Cgo:      true,
			Programs: []Program{{"github.com/opencontainers/runc", "runc", "seccomp netgo osusergo urfave_cli_no_docs"}},
		},
		{
			Name:        "cni",
			Upstream:    plugins,
			VersionVars: []string{plugins + "/pkg/utils/buildversion.BuildVersion"},
			Programs: []Program{
				{plugins + "/plugins/main/bridge", "bridge", ""},
				{plugins + "/plugins/meta/firewall", "firewall", ""},
				{plugins + "/plugins/ipam/host-local", "host-local", ""},
				{plugins + "/plugins/main/loopback", "loopback", ""},
				{plugins + "/plugins/meta/portmap", "portmap", ""},
				{plugins + "/plugins/main/ptp", "ptp", ""},
			},
		},
	}
}
