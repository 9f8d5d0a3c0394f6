package spec

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, err := Parse("kubelet", []byte(`{
		"ociVersion": "1.3.0",
		"process": {"args": ["/usr/bin/kubelet"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "terminal": false,
			"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 10}], "capabilities": {"bounding": ["CAP_CHOWN"]}},
		"linux": {"cgroupsPath": "/system/kubelet", "resources": {"pids": {"limit": 10}, "unified": {"memory.min": "1"}}},
		"annotations": {"holdfast.requires": "containerd, netd", "holdfast.type": "notify", "holdfast.restart-limit": "3/10s", "holdfast.critical": "true"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != Notify || !s.Critical || s.Limit != (Limit{3, 10 * time.Second}) || strings.Join(s.Requires, "+") != "containerd+netd" {
		t.Errorf("%+v", s)
	}
	if s.Restart != Always || s.Stop != StopAll || s.TimeoutStart != 90*time.Second || s.TimeoutStop != 30*time.Second || s.Watchdog != 0 {
		t.Errorf("defaults: %+v", s)
	}
}

func TestParseRefuses(t *testing.T) {
	const good = `"process": {"args": ["/x"]}`
	for _, c := range []struct{ name, json, want string }{
		{"a", `{`, "unexpected EOF"},
		{"a", `{}`, "process.args is empty"},
		{"a", `{"process": {"args": ["x"]}}`, "absolute path"},
		{"A", `{` + good + `}`, "name has 'A'"},
		{"a", `{` + good + `} {}`, "after the end"},
		{"a", `{` + good + `, "bogus": 1}`, `unknown field "bogus"`},
		{"a", `{"process": {"args": ["/x"], "terminal": true}}`, "not honoured: process.terminal"},
		{"a", `{` + good + `, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`, "linux.seccomp: want process.noNewPrivileges"},
		{"a", `{` + good + `, "linux": {"sysctl": {"a": "b"}}, "linux": {}}`, "not honoured: linux.sysctl"},
		{"a", `{` + good + `, "linux": {"namespaces": [{"type": "mount", "path": "/x"}]}}`, "not honoured: linux.namespaces.path"},
		{"a", `{` + good + `, "linux": {"resources": {"pids": {"limit": 0}}}}`, "linux.resources.pids.limit: 0"},
		{"a", `{` + good + `, "linux": {"resources": {"cpu": {"idle": 1}}}, "annotations": {"holdfast.early": "true"}}`, "linux.resources.cpu.idle: an early service"},
		{"a", `{` + good + `, "mounts": [{"destination": "/x", "type": "tmpfs"}]}`, "linux.namespaces: root, mounts"},
		{"a", `{` + good + `, "mounts": [{"destination": "/x", "type": "ext4"}]}`, "mounts[0].type"},
		{"a", `{` + good + `, "hooks": {"prestart": [{"path": "/y"}]}}`, "not honoured: hooks.prestart.path"},
		{"a", `{` + good + `, "linux": {"cgroupsPath": "/kubepods"}}`, "below /system"},
		{"a", `{` + good + `, "linux": {"cgroupsPath": "/system/../x"}}`, "below /system"},
		{"a", `{` + good + `, "annotations": {"holdfast.typo": "x"}}`, "holdfast.typo is not known"},
		{"a", `{` + good + `, "annotations": {"holdfast.type": "forking"}}`, "want one of"},
		{"a", `{` + good + `, "annotations": {"holdfast.restart-limit": "0/1m"}}`, "want N/duration"},
		{"a", `{` + good + `, "annotations": {"holdfast.timeout-stop": "-1s"}}`, "want a duration"},
		{"a", `{` + good + `, "annotations": {"holdfast.directories": "/run/holdfast/a /run/holdfast/../b"}}`, `"/run/holdfast/../b", want clean paths`},
	} {
		if _, err := Parse(c.name, []byte(c.json)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.json, err, c.want)
		}
	}
}

func TestOrder(t *testing.T) {
	s := func(name string, requires ...string) *Service { return &Service{Name: name, Requires: requires} }
	for _, c := range []struct {
		in   []*Service
		want string
		err  string
	}{
		{in: []*Service{s("c", "b"), s("a"), s("b", "a")}, want: "a b c"},
		{in: []*Service{s("z"), s("y"), s("x", "z")}, want: "z x y"},
		{in: []*Service{s("a", "b"), s("b", "c"), s("c", "b")}, err: "b → c → b"},
		{in: []*Service{s("a", "ghost")}, err: `"ghost", which does not exist`},
		{in: []*Service{s("a"), s("a")}, err: "there twice"},
	} {
		out, err := Order(c.in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want an error with %q", err, c.err)
			}
			continue
		}
		var names []string
		for _, s := range out {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != c.want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"process": {"args": ["/x"]}, "annotations": {"holdfast.requires": "a,b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := Parse("x", data); err == nil && len(s.OCI.Process.Args) == 0 {
			t.Error("a service without a program was taken")
		}
	})
}
