package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/kernel/mount"
)

// program is a specification of a program and what is given.
func program(t *testing.T, process, rest string) *specs.Spec {
	t.Helper()
	var s specs.Spec
	if err := json.Unmarshal([]byte(`{"process": {"args": ["/x"]`+process+`}`+rest+`}`), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestNew(t *testing.T) {
	p, err := New(program(t, `, "env": ["A=b"], "cwd": "/c", "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 18},
		"capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_BPF"], "effective": ["CAP_BPF"], "inheritable": ["CAP_BPF"], "ambient": ["CAP_BPF"]},
		"rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}], "noNewPrivileges": true, "oomScoreAdj": -5, "selinuxLabel": "l",
		"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7}`,
		`, "root": {"readonly": true}, "linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "user"}],
		"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 2}], "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 9}],
		"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}`))
	if err != nil {
		t.Fatal(err)
	}
	umask := uint32(18)
	bpf := uint64(1 << unix.CAP_BPF)
	want := Plan{
		Args: []string{"/x"}, Env: []string{"A=b"}, Cwd: "/c", UID: 1, GID: 2, Groups: []uint32{3}, Umask: &umask,
		Capabilities:    &Capabilities{Bounding: 1, Effective: bpf, Permitted: bpf, Inheritable: bpf, Ambient: bpf},
		NoNewPrivileges: true, Limits: []Limit{{unix.RLIMIT_CORE, 1, 2}}, OOMScore: -5, Label: "l", IOPriority: 2<<13 | 7,
		Clone: unix.CLONE_NEWNS | unix.CLONE_NEWUSER, Cgroup: true,
		UIDs: []Mapping{{0, 1000, 2}}, GIDs: []Mapping{{0, 1000, 9}},
		View: &mount.View{ReadOnly: true}, Filter: p.Filter,
	}
	if !reflect.DeepEqual(p, want) || len(p.Filter.Code) == 0 {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ process, rest, want string }{
		{`, "args": []`, ``, "process.args is empty"},
		{`, "args": ["x"]`, ``, `process.args[0] is "x"`},
		{`, "args": ["/x", "a\u0000"]`, ``, "process.args: \"a\\x00\" has a zero byte"},
		{`, "cwd": "x"`, ``, `process.cwd is "x"`},
		{`, "env": ["A=b", "C"]`, ``, `process.env[1]: "C"`},
		{`, "env": ["=b"]`, ``, `process.env[0]: "=b"`},
		{`, "selinuxLabel": "\u0000"`, ``, "process.selinuxLabel"},
		{`, "user": {"umask": 512}`, ``, "process.user.umask: 01000"},
		{`, "capabilities": {"bounding": ["CAP_CHOWN", "CAP_X"]}`, ``, `process.capabilities.bounding[1]: "CAP_X"`},
		{`, "capabilities": {"effective": ["CAP_CHOWN"]}`, ``, "process.capabilities.effective: CAP_CHOWN is not in permitted"},
		{`, "capabilities": {"permitted": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}`, ``, "process.capabilities.ambient: CAP_CHOWN"},
		{`, "rlimits": [{"type": "RLIMIT_X"}]`, ``, `process.rlimits[0].type: "RLIMIT_X", want one of RLIMIT_AS`},
		{`, "rlimits": [{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]`, ``, "process.rlimits[0].soft: 2"},
		{`, "rlimits": [{"type": "RLIMIT_AS"}, {"type": "RLIMIT_AS"}]`, ``, "process.rlimits[1].type: RLIMIT_AS is there twice"},
		{`, "oomScoreAdj": 1001`, ``, "process.oomScoreAdj: 1001"},
		{`, "ioPriority": {"class": "", "priority": 1}`, ``, `process.ioPriority.class: ""`},
		{`, "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}`, ``, "process.ioPriority.priority: 8"},
		{``, `, "linux": {"namespaces": [{"type": "time"}]}`, `linux.namespaces[0].type: "time"`},
		{``, `, "linux": {"namespaces": [{"type": "uts"}, {"type": "uts"}]}`, "linux.namespaces[1].type: uts is there twice"},
		{``, `, "linux": {"uidMappings": [{"containerID": 0}]}`, "linux.uidMappings: want a namespace of type user"},
		{`, "user": {"uid": 5}`, `, "linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 5}]}`, "linux.uidMappings: 5 is not mapped"},
		{``, `, "linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 5}]}`, "linux.gidMappings: 0 is not mapped"},
		{``, `, "linux": {"maskedPaths": ["/x"]}`, "linux.namespaces: root, mounts"},
		{``, `, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}`, "linux.seccomp: want process.noNewPrivileges"},
		{`, "noNewPrivileges": true`, `, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}`, "linux.seccomp.syscalls: execve"},
	} {
		if _, err := New(program(t, c.process, c.rest)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want %q", c.process, c.rest, err, c.want)
		}
	}
}

// TestEveryFieldIsEncoded fills a plan by reflection, so that a field that is
// added and not encoded is noticed.
func TestEveryFieldIsEncoded(t *testing.T) {
	var p Plan
	n := uint64(0)
	fill(reflect.ValueOf(&p).Elem(), &n)
	data := p.Encode()
	got, err := Decode(data)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, p)
	}
	if got, err = Decode(Plan{}.Encode()); err != nil || !reflect.DeepEqual(got, Plan{}) {
		t.Errorf("empty: %+v, %v", got, err)
	}
	for n := range data {
		if _, err := Decode(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a plan", n, len(data))
		}
	}
	if _, err := Decode(append(data, 0)); err == nil {
		t.Error("a byte was left over")
	}
	p = Plan{OOMScore: -1000}
	if got, err := Decode(p.Encode()); err != nil || got.OOMScore != -1000 {
		t.Errorf("score %d, %v", got.OOMScore, err)
	}
}

func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(strings.Repeat("x", int(*n)))
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.Set(reflect.ValueOf(*n * 0x0101).Convert(v.Type()))
	}
}

func FuzzDecode(f *testing.F) {
	var p Plan
	n := uint64(0)
	fill(reflect.ValueOf(&p).Elem(), &n)
	f.Add(p.Encode())
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := Decode(data); err == nil {
			if again, err := Decode(p.Encode()); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%+v became %+v, %v", p, again, err)
			}
		}
	})
}
