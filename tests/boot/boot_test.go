package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/init/status"
	"holdfast/tests/qemu"
	"holdfast/tests/release"
)

// get asks the demo pod until it answers.
func get(t *testing.T, vm *qemu.VM, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), release.BootLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := ask(ctx, "http://"+vm.Addr(release.DemoPort)+path)
		if err == nil {
			return body
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the demo pod did not answer: %v", err)
		}
	}
}

func ask(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(body), err
}

// steps are the boot steps every report must show, by stage.
var steps = []string{
	"1 mount kernel", "1 read command line", "1 measure enter", "1 find root", "1 open verity", "1 mount root", "1 raise clock", "1 measure leave",
	"2 mount run-time", "2 set sysctls", "2 check posture", "2 mount state", "2 recall time", "2 lend time", "2 mount host paths", "2 set identity",
	"2 measure sysinit",
}

func TestNodeServesItsPod(t *testing.T) {
	t.Parallel()
	rel := release.Open(t)
	vm := qemu.StartT(t, rel.Machine(t))
	report := release.Up(t, vm)

	var page struct{ ServingSinceMs int64 }
	if body := get(t, vm, "/"); json.Unmarshal([]byte(body), &page) != nil || page.ServingSinceMs <= 0 {
		t.Errorf("the demo pod says %q", body)
	}
	p := report.Posture
	if !p.SecureBoot || p.Lockdown != "integrity" || p.VerityRoot != rel.RootHash || p.TPM != "2" || p.Modules || p.State != "ext4" || len(p.Misses) > 0 {
		t.Errorf("posture %+v, want Secure Boot, lockdown integrity, root hash %s, TPM 2, no modules, state on ext4", p, rel.RootHash)
	}
	if report.Version != rel.Version || report.Memory.TotalKiB == 0 || report.Memory.InitRSSKiB == 0 {
		t.Errorf("version %q, memory %+v", report.Version, report.Memory)
	}
	if len(report.Faults) > 0 {
		t.Errorf("faults on a sound machine: %+v", report.Faults)
	}
	seen := map[string]bool{}
	for _, s := range report.Steps {
		seen[fmt.Sprint(s.Stage, " ", s.Name)] = true
	}
	for _, s := range steps {
		if !seen[s] {
			t.Errorf("step %q is not in the report", s)
		}
	}
	release.PowerOff(t, vm)
	checkState(t, vm.Disk())
}

// checkState takes e2fsck as the judge of the state file system after a
// shutdown, and sgdisk of the partition table.
func checkState(t *testing.T, disk string) {
	t.Helper()
	raw := flatten(t, disk)
	if out, err := exec.Command("sgdisk", "-v", raw.path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk: %v\n%s", err, out)
	}
	state := raw.extract(t, "state")
	if out, err := exec.Command("e2fsck", "-fn", state).CombinedOutput(); err != nil {
		t.Errorf("the state file system is not clean: %v\n%s", err, out)
	}
}

// fails boots a machine that must refuse to come up: its console shows want,
// it restarts by itself, and no service ever starts.
func fails(t *testing.T, vm *qemu.VM, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), release.BootLimit)
	defer cancel()
	if _, err := vm.WaitConsole(ctx, regexp.MustCompile(want)); err != nil {
		t.Fatal(err)
	}
	exit, err := vm.Wait(ctx)
	if err != nil || exit.Reason != qemu.GuestReset {
		t.Errorf("ended by %q, %v, want %q", exit.Reason, err, qemu.GuestReset)
	}
	for _, line := range vm.ConsoleLines() {
		if strings.Contains(line.Text, "containerd") {
			t.Errorf("a service was started: %s", line.Text)
		}
	}
}

// fault tells whether a report has a fault with that text.
func fault(text string) func(status.Report) bool {
	return func(r status.Report) bool {
		for _, f := range r.Faults {
			if strings.Contains(f.Source+": "+f.Text, text) {
				return true
			}
		}
		return false
	}
}
