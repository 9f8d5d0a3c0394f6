package mount

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestNewView(t *testing.T) {
	v, asked, err := NewView(&specs.Spec{
		Root: &specs.Root{Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/x", Source: "/y", Options: []string{"rbind", "ro", "rnosuid", "rshared"}},
			{Destination: "/run", Source: "tmpfs", Type: "tmpfs", Options: []string{"nodev", "mode=0755", "relatime"}},
		},
		Linux: &specs.Linux{MaskedPaths: []string{"/m"}, ReadonlyPaths: []string{"/r"}, RootfsPropagation: "shared"},
	})
	want := View{
		ReadOnly: true,
		Mounts: []Entry{
			{Source: "/y", Target: "/x", Deep: true, Changes: []Change{
				{Set: unix.MOUNT_ATTR_RDONLY}, {Set: unix.MOUNT_ATTR_NOSUID, Deep: true}, {Propagation: unix.MS_SHARED, Deep: true},
			}},
			{Source: "tmpfs", Target: "/run", Kind: "tmpfs", Options: []string{"mode=0755"}, Changes: []Change{
				{Set: unix.MOUNT_ATTR_NODEV}, {Clear: unix.MOUNT_ATTR__ATIME},
			}},
		},
		Masked: []string{"/m"}, Fixed: []string{"/r"}, Root: Change{Propagation: unix.MS_SHARED},
	}
	if err != nil || !asked || !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", v, asked, err, want)
	}
	for _, s := range []*specs.Spec{{}, {Root: &specs.Root{}}, {Linux: &specs.Linux{}}} {
		if _, asked, err := NewView(s); asked || err != nil {
			t.Errorf("%+v: %v, %v, want that no view is asked for", s, asked, err)
		}
	}
}

func TestNewViewRefuses(t *testing.T) {
	mount := func(m specs.Mount) *specs.Spec { return &specs.Spec{Mounts: []specs.Mount{m}} }
	bind := []string{"bind"}
	for want, s := range map[string]*specs.Spec{
		`root.path: "/rootfs"`:                          {Root: &specs.Root{Path: "/rootfs"}},
		`mounts[0].destination: ""`:                     mount(specs.Mount{}),
		`mounts[0].destination: "/"`:                    mount(specs.Mount{Destination: "/"}),
		`mounts[0].destination: "/a/../b"`:              mount(specs.Mount{Destination: "/a/../b"}),
		`mounts[0].destination: "/a\x00"`:               mount(specs.Mount{Destination: "/a\x00"}),
		`mounts[0].source: "rel"`:                       mount(specs.Mount{Destination: "/a", Source: "rel", Options: bind}),
		`mounts[0].type: "tmpfs", want bind`:            mount(specs.Mount{Destination: "/a", Source: "/b", Type: "tmpfs", Options: bind}),
		`mounts[0].type: ""`:                            mount(specs.Mount{Destination: "/a", Source: "/b"}),
		`mounts[0].type: "ext4"`:                        mount(specs.Mount{Destination: "/a", Type: "ext4"}),
		`mounts[0].options: want bind or rbind`:         mount(specs.Mount{Destination: "/a", Source: "/b", Type: "bind"}),
		`mounts[0].options[1]: "rr" is not an option`:   mount(specs.Mount{Destination: "/a", Source: "/b", Options: []string{"bind", "rr"}}),
		`mounts[0].options[0]: "size=1" is not`:         mount(specs.Mount{Destination: "/a", Type: "sysfs", Options: []string{"size=1"}}),
		`mounts[0].options[1]: "mode=1" is not`:         mount(specs.Mount{Destination: "/a", Source: "/b", Options: []string{"bind", "mode=1"}}),
		`linux.maskedPaths[0]: "x"`:                     {Linux: &specs.Linux{MaskedPaths: []string{"x"}}},
		`linux.readonlyPaths[1]: "/"`:                   {Linux: &specs.Linux{ReadonlyPaths: []string{"/x", "/"}}},
		`linux.rootfsPropagation: "ro", want one of`:    {Linux: &specs.Linux{RootfsPropagation: "ro"}},
		`linux.rootfsPropagation: "unbindable", want o`: {Linux: &specs.Linux{RootfsPropagation: "unbindable"}},
	} {
		if _, _, err := NewView(s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
