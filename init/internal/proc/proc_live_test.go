package proc

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/internal/plan"
)

// confined is the plan of a shell script under a specification: process and
// rest are JSON to go into the process and beside it.
func confined(t *testing.T, script, process, rest string) plan.Plan {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces, users and mounts need root")
	}
	args, err := json.Marshal([]string{"/bin/sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	text := fmt.Sprintf(`{"process": {"args": %s, "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "cwd": "/" %s} %s}`, args, process, rest)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	p, err := plan.New(&s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// live runs scripts under specifications.
type live struct {
	*testing.T
	r *Reaper
}

func start(t *testing.T) live { return live{t, reaper(t)} }

// says runs a script under a specification and compares what it prints,
// white space aside.
func (t live) says(script, process, rest, want string) {
	t.Helper()
	got := strings.Join(strings.Fields(output(t.T, t.r, confined(t.T, script, process, rest))), " ")
	if got != want {
		t.Errorf("%s\ngot  %s\nwant %s", script, got, want)
	}
}

// fails runs a script that must not come to run.
func (t live) fails(process, rest, want string) {
	t.Helper()
	p, err := t.r.Start(Command{Plan: confined(t.T, "echo ran", process, rest)})
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t.T, p); !strings.HasPrefix(s.Setup, want) {
		t.Errorf("got %q, want %q", s, want)
	}
}

func TestUserLive(t *testing.T) {
	l := start(t)
	l.says(`umask; id -u; id -g; id -G; touch /etc/holdfast-test 2>&1 || true`,
		`, "user": {"uid": 65534, "gid": 65533, "additionalGids": [7, 8], "umask": 63}`, ``,
		"0077 65534 65533 65533 7 8 touch: cannot touch '/etc/holdfast-test': Permission denied")
}

// TestLimitsLive sets every limit of getrlimit(2).
func TestLimitsLive(t *testing.T) {
	l := start(t)
	for name, want := range map[string][2]uint64{ // within what a container may set
		"AS": {2 << 30, 3 << 30}, "CORE": {1, 2}, "CPU": {3, 4}, "DATA": {4 << 30, 5 << 30}, "FSIZE": {5, 6}, "LOCKS": {7, 8},
		"MEMLOCK": {8192, 16384}, "MSGQUEUE": {9, 10}, "NICE": {0, 0}, "NOFILE": {33, 44}, "NPROC": {5000, 6000}, "RSS": {11, 12},
		"RTPRIO": {0, 0}, "RTTIME": {13, 14}, "SIGPENDING": {15, 16}, "STACK": {1 << 20, 2 << 20},
	} {
		row := map[string]string{
			"AS": "address space", "CORE": "core file size", "CPU": "cpu time", "DATA": "data size", "FSIZE": "file size", "LOCKS": "file locks",
			"MEMLOCK": "locked memory", "MSGQUEUE": "msgqueue size", "NICE": "nice priority", "NOFILE": "open files", "NPROC": "processes",
			"RSS": "resident set", "RTPRIO": "realtime priority", "RTTIME": "realtime timeout", "SIGPENDING": "pending signals", "STACK": "stack size",
		}[name]
		l.says(`sed -n 's/^Max `+row+` *\([0-9]\)/\1/p' /proc/self/limits | awk '{print $1, $2}'`,
			fmt.Sprintf(`, "rlimits": [{"type": "RLIMIT_%s", "soft": %d, "hard": %d}]`, name, want[0], want[1]), ``, fmt.Sprint(want[0], " ", want[1]))
	}
	l.says(`ulimit -Sn`, ``, ``, "1024") // what Go raised for itself is not handed on
}

func TestPrioritiesLive(t *testing.T) {
	l := start(t)
	l.says(`cat /proc/self/oom_score_adj; ionice -p $$`, `, "oomScoreAdj": 321, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}`, ``, "321 idle")
}

// TestLabelLive: without SELinux in the kernel a label is accepted and not
// applied.
func TestLabelLive(t *testing.T) {
	l := start(t)
	if labels() {
		l.fails(`, "selinuxLabel": "no:such:label"`, ``, "set SELinux label: no:such:label")
		return
	}
	l.says(`echo runs`, `, "selinuxLabel": "system_u:system_r:x:s0"`, ``, "runs")
}

// TestNamespacesLive compares the namespaces of a child with the test's.
func TestNamespacesLive(t *testing.T) {
	l := start(t)
	for kind, file := range map[string]string{
		"mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net", "cgroup": "cgroup",
	} {
		out := output(t, l.r, confined(t, `cd /proc/self/ns; for n in mnt pid ipc uts net cgroup user; do echo $n $(readlink $n); done`, ``,
			`, "linux": {"namespaces": [{"type": "`+kind+`"}]}`))
		for line := range strings.Lines(out) {
			name, got, _ := strings.Cut(strings.TrimSpace(line), " ")
			mine, err := os.Readlink("/proc/self/ns/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if (got != mine) != (name == file) {
				t.Errorf("with a %s namespace, %s is %s, the test's is %s", kind, name, got, mine)
			}
		}
	}
}

func TestNetworkLive(t *testing.T) {
	l := start(t)
	l.says(`awk 'NR > 2 {print $1}' /proc/net/dev; grep -m1 -o '127\.0\.0\.1' /proc/net/fib_trie`, ``,
		`, "linux": {"namespaces": [{"type": "network"}]}`, "lo: 127.0.0.1")
}

// TestPIDNamespaceLive: the program is process 1 of its namespace, and may
// have a /proc of it.
func TestPIDNamespaceLive(t *testing.T) {
	l := start(t)
	l.says(`set -- /proc/[0-9]*; echo $$ $#`, ``,
		`, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]}],
		"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}`, "1 1") // the shell, which expands the pattern itself
}

// TestCgroupNamespaceLive: its root is the group that the child was born in.
func TestCgroupNamespaceLive(t *testing.T) {
	l := start(t)
	root := cgroup2(t)
	group := filepath.Join(root, "holdfast-test-ns")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	script := `grep ^0:: /proc/self/cgroup; grep -c . /mnt/cgroup.procs; ls /mnt/holdfast-test-ns 2>&1 || true`
	for namespaces, want := range map[string]string{
		`{"type": "mount"}`:                     "0::/holdfast-test-ns ",
		`{"type": "mount"}, {"type": "cgroup"}`: "0::/ 2 ls: cannot access '/mnt/holdfast-test-ns': No such file or directory",
	} {
		c := Command{Cgroup: dir, Plan: confined(t, script, ``,
			`, "mounts": [{"destination": "/mnt", "type": "cgroup2"}], "linux": {"namespaces": [`+namespaces+`]}`)}
		if got := strings.Join(strings.Fields(outputOf(t, l.r, c)), " "); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// cgroup2 is where the machine has its cgroup v2.
func cgroup2(t *testing.T) string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
				return dir
			}
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no cgroup v2 on this machine")
	}
	t.Skip("no cgroup v2 on this machine")
	return ""
}

// TestUserNamespaceLive: root inside is nobody special outside.
func TestUserNamespaceLive(t *testing.T) {
	l := start(t)
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{dir: 0o777, filepath.Dir(dir): 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	l.says(`id -u; id -G; touch `+dir+`/x; stat -c '%u %g' `+dir+`/x; cat /proc/self/uid_map; touch /etc/x 2>/dev/null || echo refused`,
		`, "user": {"uid": 3, "gid": 4, "additionalGids": [5]}`,
		`, "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}],
			"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}], "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 10}]}`,
		"3 4 5 3 4 0 100000 10 refused")
	if st, err := os.Stat(dir + "/x"); err != nil || fmt.Sprintf("%+v", st.Sys()) == "" {
		t.Error(err)
	} else if uid := owner(st); uid != 100003 {
		t.Errorf("the file belongs to %d, want 100003", uid)
	}
}

func TestCapabilitiesLive(t *testing.T) {
	l := start(t)
	l.says(`grep ^Cap /proc/self/status`,
		`, "user": {"uid": 1, "gid": 1}, "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_BPF"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
			"effective": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]}`, ``,
		"CapInh: 0000000000000021 CapPrm: 0000000000000020 CapEff: 0000000000000020 CapBnd: 0000008000000021 CapAmb: 0000000000000020")
}

// TestFilterLive: a filter is there from the program's first instruction on.
func TestFilterLive(t *testing.T) {
	l := start(t)
	filter := func(text string) string { return `, "linux": {"seccomp": ` + text + `}` }
	const guarded = `, "noNewPrivileges": true`
	l.says(`grep -E '^(NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status; chmod 555 /proc 2>&1; mkdir /proc/x 2>&1; ls -d /proc`, guarded,
		filter(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["fchmodat", "chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
			{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`),
		"NoNewPrivs: 1 Seccomp: 2 Seccomp_filters: 1 chmod: changing permissions of '/proc': No space left on device mkdir: cannot create directory '/proc/x': Operation not permitted /proc")
	p, err := l.r.Start(Command{Plan: confined(t, "kill -0 $$", guarded,
		filter(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS"}]}`))})
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, p); s.String() != "killed by SIGSYS" {
		t.Error(s)
	}
	// A filter with next to nothing: the program is executed, and a missing one
	// is reported although write(2) is forbidden.
	const nothing = `{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}`
	c := confined(t, "", guarded, filter(nothing))
	for program, want := range map[string]string{"/bin/sh": "killed by SIGSYS", "/no/such": "find program: /no/such: no such file or directory"} {
		c.Args = []string{program}
		p, err := l.r.Start(Command{Plan: c})
		if err != nil {
			t.Fatal(err)
		}
		if s := wait(t, p); s.String() != want {
			t.Errorf("%s: got %s, want %s", program, s, want)
		}
	}
}
