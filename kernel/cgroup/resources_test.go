package cgroup

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func resources(t *testing.T, text string) *specs.LinuxResources {
	t.Helper()
	var r specs.LinuxResources
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                        "",
		`{"memory": {"limit": 10}}`: "memory.max=10",
		`{"memory": {"limit": -1, "reservation": 5, "swap": -1}}`:                        "memory.max=max memory.low=5 memory.swap.max=max",
		`{"memory": {"limit": 10, "swap": 15}}`:                                          "memory.max=10 memory.swap.max=5",
		`{"cpu": {"shares": 2}}`:                                                         "cpu.weight=1",
		`{"cpu": {"shares": 1024}}`:                                                      "cpu.weight=100",
		`{"cpu": {"shares": 262144}}`:                                                    "cpu.weight=10000",
		`{"cpu": {"quota": 50000}}`:                                                      "cpu.max=50000 100000",
		`{"cpu": {"quota": -1, "period": 1000}}`:                                         "cpu.max=max 1000",
		`{"cpu": {"idle": 1, "cpus": "0-1,3", "mems": "0"}}`:                             "cpu.idle=1 cpuset.cpus=0-1,3 cpuset.mems=0",
		`{"pids": {"limit": 7}, "blockIO": {"weight": 500}}`:                             "pids.max=7 io.weight=4950",
		`{"unified": {"memory.min": "1", "memory.high": "max", "cpu.max": "max 10000"}}`: "cpu.max=max 10000 memory.high=max memory.min=1",
	} {
		list, err := Settings(resources(t, text))
		var got []string
		for _, s := range list {
			got = append(got, s.File+"="+s.Value)
		}
		if g := strings.Join(got, " "); err != nil || g != want {
			t.Errorf("%s: got %s, %v, want %s", text, g, err, want)
		}
	}
	if list, err := Settings(nil); list != nil || err != nil {
		t.Errorf("none: %v, %v", list, err)
	}
}

func TestSettingsRefuse(t *testing.T) {
	for text, want := range map[string]string{
		`{"memory": {"limit": 0}}`:                                                "memory.limit: 0, want",
		`{"memory": {"limit": -2}}`:                                               "memory.limit: -2, want",
		`{"memory": {"reservation": -1}}`:                                         "memory.reservation: -1, want",
		`{"memory": {"swap": 5}}`:                                                 "memory.swap: 5, want",
		`{"memory": {"limit": 10, "swap": 5}}`:                                    "memory.swap: 5, want",
		`{"memory": {"limit": 10}, "unified": {"memory.max": "5"}}`:               "unified.memory.max: memory.max is set by linux.resources.memory.limit as well",
		`{"cpu": {"shares": 1}}`:                                                  "cpu.shares: 1, want 2 to 262144",
		`{"cpu": {"shares": 18446744073709551615}}`:                               "cpu.shares: 9223372036854775807, want",
		`{"cpu": {"quota": 10}}`:                                                  "cpu.quota: 10, want -1 or at least",
		`{"cpu": {"period": 10}}`:                                                 "cpu.period: 10, want",
		`{"cpu": {"idle": 2}}`:                                                    "cpu.idle: 2, want 0 to 1",
		`{"cpu": {"idle": 1, "shares": 1024}}`:                                    "cpu.idle: an idle group has no weight",
		`{"cpu": {"cpus": "a"}}`:                                                  `cpu.cpus: "a", want numbers`,
		`{"cpu": {"cpus": "3-1"}}`:                                                `cpu.cpus: "3-1", want`,
		`{"cpu": {"mems": "0,"}}`:                                                 `cpu.mems: "0,", want`,
		`{"pids": {"limit": 0}}`:                                                  "pids.limit: 0, want",
		`{"blockIO": {"weight": 9}}`:                                              "blockIO.weight: 9, want 10 to 1000",
		`{"unified": {"memory.min": "max"}}`:                                      `unified.memory.min: "max" is not a value`,
		`{"unified": {"memory.max": "10M"}}`:                                      `unified.memory.max: "10M" is not`,
		`{"unified": {"cpu.max": "10 x"}}`:                                        `unified.cpu.max: "10 x" is not`,
		`{"unified": {"cpu.weight": "0"}}`:                                        `unified.cpu.weight: "0" is not`,
		`{"unified": {"cpu.idle": "2"}}`:                                          `unified.cpu.idle: "2" is not`,
		`{"unified": {"cgroup.procs": "1"}}`:                                      "unified.cgroup.procs: is not a file that a service may set",
		`{"unified": {"../x": "1"}}`:                                              "unified.../x: is not a file",
		`{"unified": {"memory.maximum": "1"}, "cpu": {"idle": 3}}`:                "cpu.idle: 3",
		`{"cpu": {"quota": 5000}, "unified": {"cpu.max": "max", "pids.max":"1"}}`: "unified.cpu.max: cpu.max is set by linux.resources.cpu.quota as well",
	} {
		_, err := Settings(resources(t, text))
		if want = "linux.resources." + want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestWeightIsMonotone: more shares never weigh less.
func TestWeightIsMonotone(t *testing.T) {
	last := int64(0)
	for shares := int64(2); shares <= 262144; shares++ {
		w := weight(shares)
		if w < last || w < 1 || w > 10000 {
			t.Fatal(fmt.Sprint(shares, " shares weigh ", w, " after ", last))
		}
		last = w
	}
}
