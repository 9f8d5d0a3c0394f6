// Package plan is what a child process does between clone(2) and execve(2), worked out from an OCI specification.
//
// PID 1 makes a plan once, when it loads a specification: names become
// numbers, the system call filter a program, and what is wrong is said. The
// child gets the plan as bytes and only carries it out.
package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/kernel/mount"
	"holdfast/kernel/seccomp"
)

// Plan is everything about a process but its cgroup and its standard streams.
// The zero Plan with a program runs that as root in PID 1's namespaces, with
// all capabilities.
type Plan struct {
	Args, Env []string
	Cwd       string // empty: /

	UID, GID uint32
	Groups   []uint32
	Umask    *uint32 // nil: PID 1's

	Capabilities    *Capabilities // nil: all that PID 1 has
	NoNewPrivileges bool
	Limits          []Limit
	OOMScore        int
	IOPriority      uint32 // as ioprio_set(2) takes it; 0: as it comes
	Label           string // SELinux context; empty: as the policy says

	Clone      uint64 // CLONE_NEW*: the namespaces that the child is born in
	UIDs, GIDs []Mapping
	Cgroup     bool        // a new cgroup namespace, which can't be had at birth: see child
	View       *mount.View // nil: PID 1's
	Filter     seccomp.Filter
}

// Capabilities are the five sets, as bits.
type Capabilities struct{ Bounding, Effective, Permitted, Inheritable, Ambient uint64 }

// Limit is one of setrlimit(2).
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Mapping is a line of uid_map (user_namespaces(7)).
type Mapping struct{ Inside, Outside, Size uint32 }

// New makes the plan of a specification. Errors begin with the field.
func New(s *specs.Spec) (Plan, error) {
	p := Plan{}
	if s.Process == nil {
		return p, fmt.Errorf("process.args is empty, want a program")
	}
	for _, step := range []func(*specs.Process) error{
		p.program, p.user, p.capabilities, p.limits, p.priorities,
	} {
		if err := step(s.Process); err != nil {
			return p, fmt.Errorf("process.%w", err)
		}
	}
	for _, step := range []func(*specs.Spec) error{p.namespaces, p.mappings, p.view, p.filter} {
		if err := step(s); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Plan) program(s *specs.Process) error {
	if len(s.Args) == 0 {
		return fmt.Errorf("args is empty, want a program")
	}
	if !filepath.IsAbs(s.Args[0]) {
		return fmt.Errorf("args[0] is %q, want an absolute path", s.Args[0])
	}
	if s.Cwd != "" && !filepath.IsAbs(s.Cwd) {
		return fmt.Errorf("cwd is %q, want an absolute path", s.Cwd)
	}
	for i, e := range s.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("env[%d]: %q, want NAME=value", i, e)
		}
	}
	for field, texts := range map[string][]string{"args": s.Args, "env": s.Env, "cwd": {s.Cwd}, "selinuxLabel": {s.SelinuxLabel}} {
		if i := slices.IndexFunc(texts, func(t string) bool { return strings.ContainsRune(t, 0) }); i >= 0 {
			return fmt.Errorf("%s: %q has a zero byte", field, texts[i])
		}
	}
	p.Args, p.Env, p.Cwd, p.Label, p.NoNewPrivileges = s.Args, s.Env, s.Cwd, s.SelinuxLabel, s.NoNewPrivileges
	return nil
}

func (p *Plan) user(s *specs.Process) error {
	u := s.User
	if u.Umask != nil && *u.Umask > 0o777 {
		return fmt.Errorf("user.umask: %#o, want 0 to 0777", *u.Umask)
	}
	p.UID, p.GID, p.Groups, p.Umask = u.UID, u.GID, u.AdditionalGids, u.Umask
	return nil
}

func (p *Plan) capabilities(s *specs.Process) error {
	if s.Capabilities == nil {
		return nil
	}
	var c Capabilities
	for _, set := range []struct {
		name  string
		names []string
		to    *uint64
	}{
		{"bounding", s.Capabilities.Bounding, &c.Bounding},
		{"effective", s.Capabilities.Effective, &c.Effective},
		{"permitted", s.Capabilities.Permitted, &c.Permitted},
		{"inheritable", s.Capabilities.Inheritable, &c.Inheritable},
		{"ambient", s.Capabilities.Ambient, &c.Ambient},
	} {
		for i, name := range set.names {
			n := slices.Index(capabilityNames[:], name)
			if n < 0 {
				return fmt.Errorf("capabilities.%s[%d]: %q is not a capability", set.name, i, name)
			}
			*set.to |= 1 << n
		}
	}
	// The kernel would refuse both, with no more than "operation not permitted".
	if more := c.Effective &^ c.Permitted; more != 0 {
		return fmt.Errorf("capabilities.effective: %s is not in permitted", names(more))
	}
	if more := c.Ambient &^ (c.Permitted & c.Inheritable); more != 0 {
		return fmt.Errorf("capabilities.ambient: %s is not in permitted and inheritable", names(more))
	}
	p.Capabilities = &c
	return nil
}

func (p *Plan) limits(s *specs.Process) error {
	seen := map[string]bool{}
	for i, l := range s.Rlimits {
		resource, ok := resources[l.Type]
		switch {
		case !ok:
			return fmt.Errorf("rlimits[%d].type: %q, want one of %s", i, l.Type, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))
		case seen[l.Type]:
			return fmt.Errorf("rlimits[%d].type: %s is there twice", i, l.Type)
		case l.Soft > l.Hard:
			return fmt.Errorf("rlimits[%d].soft: %d is above the hard limit %d", i, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		p.Limits = append(p.Limits, Limit{resource, l.Soft, l.Hard})
	}
	return nil
}

func (p *Plan) priorities(s *specs.Process) error {
	if s.OOMScoreAdj != nil {
		p.OOMScore = *s.OOMScoreAdj
		if p.OOMScore < -1000 || p.OOMScore > 1000 {
			return fmt.Errorf("oomScoreAdj: %d, want -1000 to 1000", p.OOMScore)
		}
	}
	if s.IOPriority == nil {
		return nil
	}
	classes := []specs.IOPriorityClass{"", specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE}
	class, level := slices.Index(classes, s.IOPriority.Class), s.IOPriority.Priority
	if class < 1 {
		return fmt.Errorf("ioPriority.class: %q, want one of %s", s.IOPriority.Class, classes[1:])
	}
	if level < 0 || level > 7 {
		return fmt.Errorf("ioPriority.priority: %d, want 0 to 7", level)
	}
	const classShift = 13 // IOPRIO_CLASS_SHIFT
	p.IOPriority = uint32(class)<<classShift | uint32(level)
	return nil
}

func (p *Plan) namespaces(s *specs.Spec) error {
	if s.Linux == nil {
		return nil
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for i, n := range s.Linux.Namespaces {
		flag, ok := cloneFlags[n.Type]
		switch {
		case !ok:
			return fmt.Errorf("linux.namespaces[%d].type: %q, want one of %s", i, n.Type, slices.Sorted(maps.Keys(cloneFlags)))
		case seen[n.Type]:
			return fmt.Errorf("linux.namespaces[%d].type: %s is there twice", i, n.Type)
		}
		seen[n.Type] = true
		p.Clone |= flag
	}
	// The root of a cgroup namespace is the group of the process that makes it,
	// and clone(2) makes it before the child is in its own group.
	p.Cgroup = p.Clone&unix.CLONE_NEWCGROUP != 0
	p.Clone &^= unix.CLONE_NEWCGROUP
	return nil
}

// mappings checks that a user namespace has somebody for everyone who is
// needed in it: root, who sets the child up, and the process's own user.
func (p *Plan) mappings(s *specs.Spec) error {
	if s.Linux == nil {
		return nil
	}
	within := p.Clone&unix.CLONE_NEWUSER != 0
	for _, m := range []struct {
		field string
		from  []specs.LinuxIDMapping
		to    *[]Mapping
		need  []uint32
	}{
		{"uidMappings", s.Linux.UIDMappings, &p.UIDs, []uint32{0, p.UID}},
		{"gidMappings", s.Linux.GIDMappings, &p.GIDs, append([]uint32{0, p.GID}, p.Groups...)},
	} {
		if !within && len(m.from) > 0 {
			return fmt.Errorf("linux.%s: want a namespace of type user", m.field)
		}
		for _, e := range m.from {
			*m.to = append(*m.to, Mapping{e.ContainerID, e.HostID, e.Size})
		}
		for _, id := range m.need {
			if within && !slices.ContainsFunc(*m.to, func(r Mapping) bool { return id >= r.Inside && id-r.Inside < r.Size }) {
				return fmt.Errorf("linux.%s: %d is not mapped, and needed", m.field, id)
			}
		}
	}
	return nil
}

func (p *Plan) view(s *specs.Spec) error {
	v, asked, err := mount.NewView(s)
	if err != nil {
		return err
	}
	own := p.Clone&unix.CLONE_NEWNS != 0
	if asked && !own {
		return fmt.Errorf("linux.namespaces: root, mounts, maskedPaths, readonlyPaths and rootfsPropagation want one of type mount")
	}
	if own { // without a wish, too: what the service mounts stays in its namespace
		p.View = &v
	}
	return nil
}

func (p *Plan) filter(s *specs.Spec) (err error) {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return nil
	}
	if !p.NoNewPrivileges {
		return fmt.Errorf("linux.seccomp: want process.noNewPrivileges, without which a filter could fool a program that has more rights")
	}
	if p.Filter, err = seccomp.Compile(s.Linux.Seccomp); err != nil {
		return fmt.Errorf("linux.seccomp.%w", err)
	}
	return nil
}
