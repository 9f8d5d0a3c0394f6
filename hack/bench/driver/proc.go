package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/hack/bench/sample"
)

// memory reads PID 1's memory.
func memory() (m sample.Memory, err error) {
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		return m, err
	}
	rollup, err := os.ReadFile("/proc/1/smaps_rollup")
	if err != nil {
		return m, err
	}
	var clean, dirty int64
	for _, f := range []struct {
		text []byte
		name string
		to   *int64
	}{
		{status, "VmRSS", &m.RSS}, {status, "RssAnon", &m.Anon}, {status, "RssFile", &m.File},
		{rollup, "Pss", &m.PSS}, {rollup, "Private_Clean", &clean}, {rollup, "Private_Dirty", &dirty},
	} {
		if *f.to, err = field(string(f.text), f.name); err != nil {
			return m, err
		}
	}
	m.Private = clean + dirty
	return m, nil
}

// field reads the number of a line "name: 123 kB".
func field(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				break
			}
			return strconv.ParseInt(words[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("no number %s in %d bytes of text", name, len(text))
}

// watchIdle counts PID 1's context switches each second. Reading them does
// not wake it.
func watchIdle(d time.Duration) (sample.Idle, error) {
	var idle sample.Idle
	if d == 0 {
		return idle, nil
	}
	before, err := switches("/proc/1/task")
	if err != nil {
		return idle, err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for idle.Seconds < int(d/time.Second) {
		<-tick.C
		after, err := switches("/proc/1/task")
		if err != nil {
			return idle, err
		}
		if n := switched(before, after); n > 0 {
			idle.Switches += n
			idle.Wakes++
		}
		before = after
		idle.Seconds++
	}
	return idle, nil
}

// switches reads the context switches of every thread.
func switches(dir string) (map[string]int64, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*/status"))
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
			n, err := field(string(b), name)
			if err != nil {
				return nil, err
			}
			counts[file] += n
		}
	}
	return counts, nil
}

// switched sums what was added; a thread that is new brings all of its own.
func switched(before, after map[string]int64) (n int64) {
	for thread, count := range after {
		n += count - before[thread]
	}
	return n
}
