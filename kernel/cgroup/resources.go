package cgroup

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Setting is what one file of a group is set to, and the field of the
// specification that says so.
type Setting struct{ File, Value, Field string }

// Settings works out what resources mean on cgroup v2
// (Documentation/admin-guide/cgroup-v2.rst). Errors begin with the field.
func Settings(r *specs.LinuxResources) ([]Setting, error) {
	if r == nil {
		return nil, nil
	}
	var s settings
	s.memory(r.Memory)
	s.cpu(r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		s.amount("pids.max", "pids.limit", *r.Pids.Limit)
	}
	if r.BlockIO != nil && r.BlockIO.Weight != nil {
		s.number("io.weight", "blockIO.weight", int64(*r.BlockIO.Weight), 10, 1000, func(v int64) int64 {
			return 1 + (v-10)*9999/990 // from cgroup v1's range to v2's
		})
	}
	s.unified(r.Unified)
	return s.list, s.check()
}

// Set writes the setting's file.
func (s Setting) Set(g Group) error {
	if err := g.Set(s.File, s.Value); err != nil {
		return fmt.Errorf("%s: %w", s.Field, err)
	}
	return nil
}

// settings collects what fields say, and the first thing wrong with them.
type settings struct {
	list []Setting
	err  error
}

func (s *settings) fail(field, format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("linux.resources."+field+": "+format, args...)
	}
}

func (s *settings) add(file, field, value string) {
	if i := slices.IndexFunc(s.list, func(o Setting) bool { return o.File == file }); i >= 0 {
		s.fail(field, "%s is set by %s as well", file, s.list[i].Field)
	}
	s.list = append(s.list, Setting{file, value, "linux.resources." + field})
}

// number adds a number within bounds, translated.
func (s *settings) number(file, field string, v, low, high int64, to func(int64) int64) {
	if v < low || v > high {
		s.fail(field, "%d, want %d to %d", v, low, high)
		return
	}
	s.add(file, field, strconv.FormatInt(to(v), 10))
}

func same(v int64) int64 { return v }

const unlimited = "max"

// amount adds a number above 0, or no limit for -1.
func (s *settings) amount(file, field string, v int64) {
	switch {
	case v == -1:
		s.add(file, field, unlimited)
	case v <= 0:
		s.fail(field, "%d, want a number above 0, or -1 for no limit", v)
	default:
		s.add(file, field, strconv.FormatInt(v, 10))
	}
}

func (s *settings) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	if m.Limit != nil {
		s.amount("memory.max", "memory.limit", *m.Limit)
	}
	if m.Reservation != nil {
		s.number("memory.low", "memory.reservation", *m.Reservation, 0, math.MaxInt64, same)
	}
	if m.Swap == nil {
		return
	}
	// OCI counts memory and swap together, cgroup v2 swap alone.
	switch limit := m.Limit; {
	case *m.Swap == -1:
		s.add("memory.swap.max", "memory.swap", unlimited)
	case limit == nil || *limit < 0 || *m.Swap < *limit:
		s.fail("memory.swap", "%d, want -1, or a number that is not below memory.limit", *m.Swap)
	default:
		s.add("memory.swap.max", "memory.swap", strconv.FormatInt(*m.Swap-*limit, 10))
	}
}

func (s *settings) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if c.Shares != nil {
		s.number("cpu.weight", "cpu.shares", int64(min(*c.Shares, math.MaxInt64)), 2, 262144, weight)
	}
	if c.Quota != nil || c.Period != nil {
		s.bandwidth(c.Quota, c.Period)
	}
	if c.Idle != nil {
		s.number("cpu.idle", "cpu.idle", *c.Idle, 0, 1, same)
	}
	s.set("cpuset.cpus", "cpu.cpus", c.Cpus)
	s.set("cpuset.mems", "cpu.mems", c.Mems)
}

// weight translates CPU shares as current runtimes do: the ends of the ranges
// meet, and so do their presets, 1024 and 100.
func weight(shares int64) int64 {
	l := math.Log2(float64(shares))
	return int64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// Bounds of CPU bandwidth in µs (kernel/sched/core.c, tg_set_cfs_bandwidth).
const (
	presetPeriod = 100_000
	minPeriod    = 1_000
	maxPeriod    = 1_000_000
	minQuota     = 1_000
)

func (s *settings) bandwidth(quota *int64, period *uint64) {
	per := uint64(presetPeriod)
	if period != nil {
		per = *period
	}
	if per < minPeriod || per > maxPeriod {
		s.fail("cpu.period", "%d, want %d to %d µs", per, minPeriod, maxPeriod)
	}
	most := unlimited
	if quota != nil && *quota != -1 {
		if *quota < minQuota {
			s.fail("cpu.quota", "%d, want -1 or at least %d µs", *quota, minQuota)
		}
		most = strconv.FormatInt(*quota, 10)
	}
	s.add("cpu.max", "cpu.quota", fmt.Sprintf("%s %d", most, per))
}

// set adds a list of numbers and ranges.
func (s *settings) set(file, field, list string) {
	if list == "" {
		return
	}
	if !isSet(list) {
		s.fail(field, "%q, want numbers and ranges such as 0-3,5", list)
	}
	s.add(file, field, list)
}

func isSet(list string) bool {
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return false
		}
		if b, err := strconv.ParseUint(last, 10, 16); ranged && (err != nil || b < a) {
			return false
		}
	}
	return true
}

// validity is what a file that linux.resources.unified may set takes; nil: it
// may not be set. What is promised to services is added up, so a promise of
// memory has to be a number.
func validity(file string) func(value string) bool {
	switch file {
	case "cpu.max.burst", "memory.low", "memory.min":
		return isNumber
	case "memory.high", "memory.max", "memory.swap.high", "memory.swap.max", "pids.max":
		return isLimit
	case "cpu.idle", "memory.oom.group":
		return func(v string) bool { return v == "0" || v == "1" }
	case "cpu.weight", "io.weight":
		return func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= 1 && n <= 10000 }
	case "cpu.max":
		return func(v string) bool {
			limit, period, both := strings.Cut(v, " ")
			return isLimit(limit) && (!both || isNumber(period))
		}
	case "cpuset.cpus", "cpuset.mems":
		return isSet
	}
	return nil
}

func isNumber(v string) bool {
	_, err := strconv.ParseUint(v, 10, 62)
	return err == nil
}

func isLimit(v string) bool { return v == unlimited || isNumber(v) }

func (s *settings) unified(values map[string]string) {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := "unified." + name
		switch valid := validity(name); {
		case valid == nil:
			s.fail(field, "is not a file that a service may set")
		case !valid(values[name]):
			s.fail(field, "%q is not a value of that file", values[name])
		default:
			s.add(name, field, values[name])
		}
	}
}

// check looks for what does not go together.
func (s *settings) check() error {
	if s.err != nil {
		return s.err
	}
	if s.Value("cpu.idle") == "1" && s.Value("cpu.weight") != "" {
		return errors.New("linux.resources.cpu.idle: an idle group has no weight, and cpu.weight is set")
	}
	return nil
}

// Value is what a file is to be set to.
func (s *settings) Value(file string) string { return Find(s.list, file) }

// Find is what settings set a file to; empty: nothing.
func Find(list []Setting, file string) string {
	for _, s := range list {
		if s.File == file {
			return s.Value
		}
	}
	return ""
}
