package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rule is what happens to a system call whose arguments meet all conditions.
type rule struct {
	conditions []specs.LinuxSeccompArg
	verdict    uint32 // SECCOMP_RET_*
}

// span is a range of system calls, to the next span's first, that are treated
// alike: by rules in their order, and else by the verdict.
type span struct {
	first   uint32
	rules   []rule
	verdict uint32
}

// Compile checks a filter and compiles it. Errors begin with the field, below
// linux.seccomp.
func Compile(s *specs.LinuxSeccomp) (Filter, error) {
	for i, a := range s.Architectures {
		if a != specs.ArchX86_64 {
			return Filter{}, fmt.Errorf("architectures[%d]: %q, want %s: programs of others are never run", i, a, specs.ArchX86_64)
		}
	}
	flags, err := flagBits(s.Flags)
	if err != nil {
		return Filter{}, err
	}
	preset, err := verdict(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return Filter{}, fmt.Errorf("defaultAction: %w", err)
	}
	table, err := collect(s.Syscalls, preset)
	if err != nil {
		return Filter{}, err
	}
	if !table[unix.SYS_EXECVE].mayPass() {
		return Filter{}, errors.New("syscalls: execve is not allowed, so that the program could never start")
	}
	program := assemble(merge(table, preset))
	if len(program) > unix.BPF_MAXINSNS {
		return Filter{}, fmt.Errorf("syscalls: the filter has %d instructions, at most %d are possible", len(program), unix.BPF_MAXINSNS)
	}
	return Filter{Flags: flags, Code: encode(program)}, nil
}

func flagBits(flags []specs.LinuxSeccompFlag) (bits uint32, err error) {
	for i, f := range flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default:
			return 0, fmt.Errorf("flags[%d]: %q, want %s or %s", i, f, specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow)
		}
	}
	return bits, nil
}

const maxErrno = 4095 // MAX_ERRNO

func verdict(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	if errno != nil && (a != specs.ActErrno || *errno == 0 || *errno > maxErrno) {
		return 0, fmt.Errorf("%s with error %d, want an error from 1 to %d, and only with %s", a, *errno, maxErrno, specs.ActErrno)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActErrno:
		number := uint(unix.EPERM)
		if errno != nil {
			number = *errno
		}
		return unix.SECCOMP_RET_ERRNO | uint32(number), nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	}
	return 0, fmt.Errorf("action %q, want one of ALLOW, LOG, ERRNO, TRAP, KILL, KILL_THREAD, KILL_PROCESS after SCMP_ACT_", a)
}

// collect sorts the entries by system call: table[n] says what happens to n.
func collect(entries []specs.LinuxSyscall, preset uint32) ([]span, error) {
	table := make([]span, len(names))
	for n := range table {
		table[n] = span{first: uint32(n), verdict: preset}
	}
	whole := map[int]bool{} // entries without conditions
	for i, e := range entries {
		v, err := verdict(e.Action, e.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("syscalls[%d].action: %w", i, err)
		}
		if err := checkConditions(e.Args); err != nil {
			return nil, fmt.Errorf("syscalls[%d].%w", i, err)
		}
		if len(e.Names) == 0 {
			return nil, fmt.Errorf("syscalls[%d].names is empty", i)
		}
		for _, name := range e.Names {
			n := slices.Index(names[:], name)
			switch {
			case n < 0 || name == "":
				return nil, fmt.Errorf("syscalls[%d].names: %q is not a system call of x86-64", i, name)
			case len(e.Args) > 0:
				table[n].rules = append(table[n].rules, rule{e.Args, v})
			case whole[n] && table[n].verdict != v:
				return nil, fmt.Errorf("syscalls[%d].names: %s has another action in an earlier entry", i, name)
			default:
				whole[n], table[n].verdict = true, v
			}
		}
	}
	return table, nil
}

func checkConditions(args []specs.LinuxSeccompArg) error {
	var seen [6]bool
	for i, a := range args {
		switch {
		case a.Index >= uint(len(seen)):
			return fmt.Errorf("args[%d].index: %d, want 0 to 5", i, a.Index)
		case seen[a.Index]:
			return fmt.Errorf("args[%d].index: a second condition on argument %d", i, a.Index)
		case compare(a) == nil:
			return fmt.Errorf("args[%d].op: %q is not an operator", i, a.Op)
		case a.Op != specs.OpMaskedEqual && a.ValueTwo != 0:
			return fmt.Errorf("args[%d].valueTwo: %d, only %s has a second value", i, a.ValueTwo, specs.OpMaskedEqual)
		case a.Op == specs.OpMaskedEqual && a.ValueTwo&^a.Value != 0:
			return fmt.Errorf("args[%d].valueTwo: %#x has bits outside of the mask %#x, and could never match", i, a.ValueTwo, a.Value)
		}
		seen[a.Index] = true
	}
	return nil
}

// mayPass tells whether there are arguments with which the call is carried out.
func (s span) mayPass() bool {
	passes := func(v uint32) bool { return v == unix.SECCOMP_RET_ALLOW || v == unix.SECCOMP_RET_LOG }
	return passes(s.verdict) || slices.ContainsFunc(s.rules, func(r rule) bool { return passes(r.verdict) })
}

// merge joins neighbours that are treated alike. Numbers that name no system
// call of this table get the preset.
func merge(table []span, preset uint32) []span {
	var out []span
	for _, s := range append(table, span{first: uint32(len(table)), verdict: preset}) {
		if int(s.first) < len(names) && names[s.first] == "" {
			s.verdict = preset
		}
		if n := len(out); n > 0 && len(s.rules)+len(out[n-1].rules) == 0 && out[n-1].verdict == s.verdict {
			continue
		}
		out = append(out, s)
	}
	return out
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32 is the lowest number of an x32 system call (__X32_SYSCALL_BIT).
const x32 = 0x40000000

func assemble(spans []span) []unix.SockFilter {
	head := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, unix.AUDIT_ARCH_X86_64, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		jump(unix.BPF_JGE, x32, 0, 1),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
	}
	return append(head, search(spans)...)
}

// search finds the span of the number in the accumulator by halving.
func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code()
	}
	half := len(spans) / 2
	lower, upper := search(spans[:half]), search(spans[half:])
	first := spans[half].first
	var code []unix.SockFilter
	if len(lower) <= maxJump {
		code = append(code, jump(unix.BPF_JGE, first, uint8(len(lower)), 0))
	} else {
		code = append(code, jump(unix.BPF_JGE, first, 0, 1), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(lower))})
	}
	return slices.Concat(code, lower, upper)
}

func (s span) code() []unix.SockFilter {
	var code []unix.SockFilter
	for _, r := range s.rules {
		code = append(code, r.code()...)
	}
	return append(code, ret(s.verdict))
}

// code returns the verdict, or runs past its end when a condition fails.
func (r rule) code() []unix.SockFilter {
	code := []unix.SockFilter{ret(r.verdict)}
	for _, c := range slices.Backward(r.conditions) {
		code = append(link(compare(c), len(code)), code...)
	}
	return code
}

// maxJump is how far a conditional jump reaches.
const maxJump = 255

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}

func encode(program []unix.SockFilter) []byte {
	out := make([]byte, 0, len(program)*instructionSize)
	for _, i := range program {
		out = binary.LittleEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.LittleEndian.AppendUint32(out, i.K)
	}
	return out
}
