package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"holdfast/hack/node"
	"holdfast/init/status"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSummary(t *testing.T) {
	good := node.Up{
		URL: "http://127.0.0.1:43210/", PodMs: 7412,
		Report: status.Report{
			Version: "0.1.0", Phase: status.Running,
			Firmware: status.Firmware{LoaderStartMs: 2310, LoaderExecMs: 2935},
			Steps: []status.Step{
				{Stage: 1, Name: "pseudo file systems", AtMs: 1130, TookMs: 10}, {Stage: 1, Name: "verity root", AtMs: 1430, TookMs: 240},
				{Stage: 2, Name: "cgroups", AtMs: 1500, TookMs: 20}, {Stage: 2, Name: "posture", AtMs: 1712, TookMs: 3},
			},
			Services: []status.Service{
				{Name: "netd", State: "ready", ReadyMs: 1900}, {Name: "containerd", State: "ready", ReadyMs: 3020},
				{Name: "kubelet", State: "ready", ReadyMs: 5920},
			},
			Posture: status.Posture{SecureBoot: true, Lockdown: "integrity", TPM: "2.0", State: "ext4",
				VerityRoot: strings.Repeat("0123456789abcdef", 4)},
			Memory: status.Memory{TotalKiB: 2040000, AvailableKiB: 1700000, InitRSSKiB: 6789},
		},
	}
	bad := node.Up{URL: "http://127.0.0.1:1/", PodMs: 12000, Report: status.Report{
		Version: "0.1.0", Phase: status.Running,
		Services: []status.Service{{Name: "kubelet", State: "ready", ReadyMs: 11000, Restarts: 2}},
		Posture:  status.Posture{Lockdown: "none", Modules: true, State: "tmpfs", Misses: []string{"Secure Boot is off", "no verity under /"}},
		Faults: []status.Fault{{Source: "config", Text: "fw_cfg line 7: network.interfaces[0].mtu: 80000 is out of range; " +
			"expected a number from 576 to 65535, and the default was kept"}},
	}}
	for name, s := range map[string]node.Up{"good": good, "bad": bad} {
		got, path := render(s), "testdata/"+name+".txt"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v; got\n%s\nexpected\n%s", name, err, got, want)
		}
		for line := range strings.Lines(got) {
			if len(line) > width+1 || strings.HasSuffix(line, " \n") {
				t.Errorf("%s: too wide, or with space at its end: %q", name, line)
			}
		}
	}
}
