package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Jump targets of a comparison before it is linked; link replaces them. No
// comparison is as long as their values.
const (
	holds = 0xfe
	fails = 0xff
)

// compare translates a condition; nil for an unknown operator. An argument has
// 64 bits and the accumulator 32, so the high half decides, and the low one
// where it can't.
func compare(c specs.LinuxSeccompArg) []unix.SockFilter {
	switch c.Op {
	case specs.OpEqualTo:
		return equal(c, holds, fails)
	case specs.OpNotEqual:
		return equal(c, fails, holds)
	case specs.OpGreaterThan:
		return order(c, unix.BPF_JGT, holds, fails)
	case specs.OpGreaterEqual:
		return order(c, unix.BPF_JGE, holds, fails)
	case specs.OpLessEqual:
		return order(c, unix.BPF_JGT, fails, holds)
	case specs.OpLessThan:
		return order(c, unix.BPF_JGE, fails, holds)
	case specs.OpMaskedEqual:
		return masked(c)
	}
	return nil
}

func low(c specs.LinuxSeccompArg) uint32  { return offsetArgs + 8*uint32(c.Index) }
func high(c specs.LinuxSeccompArg) uint32 { return low(c) + 4 }

func equal(c specs.LinuxSeccompArg, yes, no uint8) []unix.SockFilter {
	return []unix.SockFilter{
		load(high(c)), jump(unix.BPF_JEQ, uint32(c.Value>>32), 0, no),
		load(low(c)), jump(unix.BPF_JEQ, uint32(c.Value), yes, no),
	}
}

func order(c specs.LinuxSeccompArg, test uint16, yes, no uint8) []unix.SockFilter {
	return []unix.SockFilter{
		load(high(c)),
		jump(unix.BPF_JGT, uint32(c.Value>>32), yes, 0),
		jump(unix.BPF_JEQ, uint32(c.Value>>32), 0, no),
		load(low(c)),
		jump(test, uint32(c.Value), yes, no),
	}
}

// masked leaves out the half that has no bit in the mask.
func masked(c specs.LinuxSeccompArg) []unix.SockFilter {
	half := func(at uint32, mask, value uint32, yes uint8) []unix.SockFilter {
		return []unix.SockFilter{
			load(at), {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}, jump(unix.BPF_JEQ, value, yes, fails),
		}
	}
	lower := half(low(c), uint32(c.Value), uint32(c.ValueTwo), holds)
	if c.Value>>32 == 0 {
		return lower
	}
	return append(half(high(c), uint32(c.Value>>32), uint32(c.ValueTwo>>32), 0), lower...)
}

// link points a comparison's jumps to its end, where the rule goes on, or past
// the rest of the rule.
func link(code []unix.SockFilter, rest int) []unix.SockFilter {
	for i := range code {
		left := uint8(len(code) - 1 - i)
		for _, target := range []*uint8{&code[i].Jt, &code[i].Jf} {
			switch *target {
			case holds:
				*target = left
			case fails:
				*target = left + uint8(rest)
			}
		}
	}
	return code
}
