// Package node boots the built release in QEMU and waits until its demo pod serves.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/init/status"
	"holdfast/rootfs/keys"
	"holdfast/tests/qemu"
)

// PodPort is where the demo pod serves on the node.
const PodPort = 8080

// What the runner prints before it starts QEMU and before it stops the node; the
// benchmark waits for these lines.
const (
	Starting = "Starting the node in QEMU."
	Stopping = "Shutting the node down; Ctrl-C cuts its power."
)

// enrolTime bounds the boot that enrols the keys; it takes seconds.
const enrolTime = 2 * time.Minute

// Up is a node whose pod serves.
type Up struct {
	URL    string
	PodMs  int64 // when the pod began to serve, since the kernel's start
	Report status.Report
}

// Variables returns firmware variables with the disk's keys enrolled, and says
// so on out when that has to be done first.
func Variables(ctx context.Context, disk string, out io.Writer) (string, error) {
	dir := filepath.Dir(disk)
	k, err := keys.Load(filepath.Join(dir, "keys"))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	if _, err := os.Stat(filepath.Join(dir, "vars-"+k.ID()+".fd")); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "Enrolling the Secure Boot keys, once.")
	}
	return qemu.EnrolledVars(ctx, disk, k.ID(), dir)
}

// Serving waits for the report that says that the node runs, and for its pod.
// An error says why not, and shows the console's last lines.
func Serving(ctx context.Context, vm *qemu.VM) (up Up, err error) {
	settled := func(r status.Report) bool { return r.Phase == status.Running || r.Phase == status.Degraded }
	if up.Report, err = vm.WaitStatus(ctx, settled); err != nil {
		return up, WithConsole(err, vm)
	}
	if up.Report.Phase == status.Degraded {
		return up, WithConsole(failedServices(up.Report), vm)
	}
	up.URL = "http://" + vm.Addr(PodPort) + "/"
	if up.PodMs, err = ask(ctx, vm, up.URL); err != nil {
		return up, WithConsole(err, vm)
	}
	// The newest report: what the node noted since it came up belongs to it.
	up.Report, err = vm.WaitStatus(ctx, func(status.Report) bool { return true })
	up.Report.Firmware = firmware(up.Report.Firmware, vm.Started(), vm.ConsoleLines())
	return up, err
}

func failedServices(r status.Report) error {
	var failed []string
	for _, s := range r.Services {
		if s.State == "failed" {
			failed = append(failed, s.Name+" failed: "+s.Reason)
		}
	}
	return fmt.Errorf("the node is degraded: %s", strings.Join(failed, "; "))
}

// WithConsole adds the console's last lines to an error that does not show them.
func WithConsole(err error, vm *qemu.VM) error {
	lines := vm.ConsoleLines()
	text := ""
	for _, l := range lines[max(0, len(lines)-20):] {
		text += "\n  | " + l.Text
	}
	return fmt.Errorf("%w\nlast console lines:%s", err, text)
}

// ask asks the pod until it answers, and returns since when it serves.
func ask(ctx context.Context, vm *qemu.VM, url string) (int64, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ms, err := askOnce(ctx, url)
		if err == nil {
			return ms, nil
		}
		select {
		case <-tick.C:
		case <-vm.Done():
			return 0, errors.New("the machine ended before its pod answered")
		case <-ctx.Done():
			return 0, fmt.Errorf("ask the pod: %w", err)
		}
	}
}

func askOnce(ctx context.Context, url string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		ServingSinceMs int64 `json:"servingSinceMs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("read the pod's answer (%s): %w", resp.Status, err)
	}
	return answer.ServingSinceMs, nil
}
