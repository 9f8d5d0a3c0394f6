package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is struct seccomp_data.
type call struct {
	number, arch uint32
	args         [6]uint64
}

func (c call) word(offset uint32) uint32 {
	b := binary.LittleEndian.AppendUint32(nil, c.number)
	b = binary.LittleEndian.AppendUint32(b, c.arch)
	b = binary.LittleEndian.AppendUint64(b, 0) // instruction pointer
	for _, a := range c.args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return binary.LittleEndian.Uint32(b[offset:])
}

// run is the kernel's interpreter (kernel/bpf/core.c), as far as filters go.
// It returns the verdict and how many instructions it took.
func run(t *testing.T, f Filter, c call) (verdict uint32, steps int) {
	t.Helper()
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		i := f.Code[pc*instructionSize:]
		code, yes, no, k := binary.LittleEndian.Uint16(i), int(i[2]), int(i[3]), binary.LittleEndian.Uint32(i[4:])
		branch := func(taken bool) {
			if taken {
				pc += yes
			} else {
				pc += no
			}
		}
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = c.word(k)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			branch(a == k)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			branch(a > k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			branch(a >= k)
		case unix.BPF_RET | unix.BPF_K:
			return k, steps
		default:
			t.Fatalf("instruction %d: code %#x", pc, code)
		}
	}
}

func (c call) meets(a specs.LinuxSeccompArg) bool {
	v := c.args[a.Index]
	switch a.Op {
	case specs.OpEqualTo:
		return v == a.Value
	case specs.OpNotEqual:
		return v != a.Value
	case specs.OpLessThan:
		return v < a.Value
	case specs.OpLessEqual:
		return v <= a.Value
	case specs.OpGreaterEqual:
		return v >= a.Value
	case specs.OpGreaterThan:
		return v > a.Value
	}
	return v&a.Value == a.ValueTwo
}

// judge reads the specification as its words say.
func judge(t *testing.T, s *specs.LinuxSeccomp, c call) uint32 {
	of := func(a specs.LinuxSeccompAction, e *uint) uint32 {
		v, err := verdict(a, e)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if c.arch != unix.AUDIT_ARCH_X86_64 || c.number >= x32 {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	whole := of(s.DefaultAction, s.DefaultErrnoRet)
	for _, e := range s.Syscalls {
		if int(c.number) >= len(names) || !slices.Contains(e.Names, names[c.number]) {
			continue
		}
		if len(e.Args) == 0 {
			whole = of(e.Action, e.ErrnoRet)
		} else if !slices.ContainsFunc(e.Args, func(a specs.LinuxSeccompArg) bool { return !c.meets(a) }) {
			return of(e.Action, e.ErrnoRet)
		}
	}
	return whole
}

var operators = []specs.LinuxSeccompOperator{
	specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
}

// edges are values at which comparisons of halves go wrong.
var edges = []uint64{0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 1 << 32, 1<<32 + 1, 2<<32 - 1, 2 << 32, 1 << 63, 1<<64 - 1}

func random(r *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActLog}
	s := &specs.LinuxSeccomp{DefaultAction: actions[r.IntN(len(actions))]}
	known := slices.DeleteFunc(slices.Clone(names[:]), func(n string) bool { return n == "execve" || n == "" })
	r.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	for range r.IntN(6) {
		n := 1 + r.IntN(60)
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: known[:n], Action: actions[r.IntN(len(actions))]})
		known = known[n:]
	}
	for range r.IntN(12) {
		e := specs.LinuxSyscall{Names: []string{[]string{"execve", "mmap", "socket", "ioctl"}[r.IntN(4)]}, Action: actions[r.IntN(len(actions))]}
		for _, index := range r.Perm(6)[:1+r.IntN(6)] {
			a := specs.LinuxSeccompArg{Index: uint(index), Op: operators[r.IntN(len(operators))], Value: edges[r.IntN(len(edges))]}
			if a.Op == specs.OpMaskedEqual {
				a.ValueTwo = a.Value & edges[r.IntN(len(edges))]
			}
			e.Args = append(e.Args, a)
		}
		s.Syscalls = append(s.Syscalls, e)
	}
	s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"execve"}, Action: specs.ActAllow})
	return s
}

// TestProgramsSayWhatSpecificationsSay compares compiled programs with a
// reading of the specification, for every system call and arguments at the
// edges of their halves.
func TestProgramsSayWhatSpecificationsSay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		s := random(r)
		f, err := Compile(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		for n := range uint32(len(names) + 40) {
			rounds := 2
			if n < uint32(len(names)) && slices.Contains([]string{"execve", "mmap", "socket", "ioctl"}, names[n]) {
				rounds = 100
			}
			for range rounds {
				c := call{number: n, arch: unix.AUDIT_ARCH_X86_64}
				for i := range c.args {
					c.args[i] = edges[r.IntN(len(edges))]
				}
				got, _ := run(t, f, c)
				if want := judge(t, s, c); got != want {
					t.Fatalf("%+v\n%+v: got %#x, want %#x", s, c, got, want)
				}
			}
		}
		for _, c := range []call{
			{number: 0, arch: unix.AUDIT_ARCH_I386}, {number: x32, arch: unix.AUDIT_ARCH_X86_64}, {number: 1<<32 - 1, arch: unix.AUDIT_ARCH_X86_64},
		} {
			if got, _ := run(t, f, c); got != unix.SECCOMP_RET_KILL_PROCESS {
				t.Errorf("%+v: got %#x, want that the process is killed", c, got)
			}
		}
	}
}

// TestSearchIsShort: an allow list of 200 scattered calls must not be a walk
// along 200 comparisons.
func TestSearchIsShort(t *testing.T) {
	var list []string
	for n := 0; n < len(names); n += 2 {
		if names[n] != "" {
			list = append(list, names[n])
		}
	}
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: append(list, "execve"), Action: specs.ActAllow},
	}})
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for n := range uint32(500) {
		_, steps := run(t, f, call{number: n, arch: unix.AUDIT_ARCH_X86_64})
		longest = max(longest, steps)
	}
	t.Logf("%d calls, %d instructions, longest path %d", len(list), len(f.Code)/instructionSize, longest)
	if longest > 20 {
		t.Errorf("the longest path has %d instructions, want at most 20", longest)
	}
}

func TestCompileRefuses(t *testing.T) {
	errno := func(n uint) *uint { return &n }
	allow := func(e ...specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: e}
	}
	args := func(a ...specs.LinuxSeccompArg) *specs.LinuxSeccomp {
		return allow(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: a})
	}
	eq := specs.OpEqualTo
	for want, s := range map[string]*specs.LinuxSeccomp{
		`defaultAction: action ""`:                                        {},
		`defaultAction: action "SCMP_ACT_NOTIFY"`:                         {DefaultAction: specs.ActNotify},
		"defaultAction: SCMP_ACT_ALLOW with error 1":                      {DefaultAction: specs.ActAllow, DefaultErrnoRet: errno(1)},
		"defaultAction: SCMP_ACT_ERRNO with error 0":                      {DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(0)},
		`architectures[1]: "SCMP_ARCH_X86"`:                               {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86}},
		`flags[0]: "SECCOMP_FILTER_FLAG_TSYNC"`:                           {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC"}},
		`syscalls[0].names: "opne" is not`:                                allow(specs.LinuxSyscall{Names: []string{"opne"}, Action: specs.ActErrno}),
		`syscalls[0].names: "" is not`:                                    allow(specs.LinuxSyscall{Names: []string{""}, Action: specs.ActErrno}),
		"syscalls[0].names is empty":                                      allow(specs.LinuxSyscall{Action: specs.ActErrno}),
		`syscalls[0].action: action "SCMP_ACT_TRACE"`:                     allow(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrace}),
		"syscalls[0].action: SCMP_ACT_ERRNO with error 4096":              allow(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: errno(4096)}),
		"syscalls[1].names: read has another action in an earlier entry":  allow(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno}, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrap}),
		"syscalls[0].args[0].index: 6":                                    args(specs.LinuxSeccompArg{Index: 6, Op: eq}),
		"syscalls[0].args[1].index: a second condition":                   args(specs.LinuxSeccompArg{Op: eq}, specs.LinuxSeccompArg{Op: eq}),
		`syscalls[0].args[0].op: "=="`:                                    args(specs.LinuxSeccompArg{Op: "=="}),
		"syscalls[0].args[0].valueTwo: 5":                                 args(specs.LinuxSeccompArg{Op: eq, ValueTwo: 5}),
		"syscalls[0].args[0].valueTwo: 0x8 has bits outside":              args(specs.LinuxSeccompArg{Op: specs.OpMaskedEqual, Value: 7, ValueTwo: 8}),
		"syscalls: execve is not allowed":                                 {DefaultAction: specs.ActErrno},
		"syscalls: execve is not allowed, so that the program could neve": allow(specs.LinuxSyscall{Names: []string{"execve"}, Action: specs.ActKill}),
	} {
		if _, err := Compile(s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestNamesAreTheKernels compares the table with the C library's header.
func TestNamesAreTheKernels(t *testing.T) {
	header, err := os.ReadFile("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	found := regexp.MustCompile(`__NR_(\w+) (\d+)`).FindAllStringSubmatch(string(header), -1)
	if len(found) < 300 {
		t.Fatalf("only %d system calls in the header", len(found))
	}
	for _, m := range found {
		if n, err := strconv.Atoi(m[2]); err != nil || n >= len(names) || names[n] != m[1] {
			t.Errorf("%s %s is not in the table", m[1], m[2])
		}
	}
}
