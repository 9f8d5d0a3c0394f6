// Package report is PID 1's voice: boot steps and faults on the console, in the kernel log and in the status report.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/internal/guard"
	"holdfast/init/status"
	"holdfast/kernel/kmsg"
)

// Reporter collects the node's status. It may be used by several goroutines.
type Reporter struct {
	stage   int
	console *os.File
	log     *kmsg.Log

	mu     sync.Mutex
	report status.Report
	timer  *time.Timer   // runs while a change waits to be published
	took   time.Duration // the last time, to publish

	publishing sync.Mutex
	port       *os.File
}

const (
	publishAfter = 50 * time.Millisecond // many changes come together; the last one counts
	publishShare = 10                    // publishing takes at most a tenth of the time
	maxFaults    = 64
)

// Now is the time since the kernel started.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// New makes the reporter of a boot stage. It works without a kernel log, which
// stage 1 does not have at first.
func New(stage int) *Reporter {
	log, err := kmsg.Open()
	if err != nil {
		log = nil
	}
	return &Reporter{stage: stage, console: os.Stdout, log: log, report: status.Report{Phase: status.Booting}}
}

// Step reports a boot step that ended well.
func (r *Reporter) Step(name, detail string, began time.Duration) {
	now := Now()
	r.mu.Lock()
	r.report.Steps = append(r.report.Steps, status.Step{
		Stage: r.stage, Name: name, Detail: detail, AtMs: now.Milliseconds(), TookMs: (now - began).Milliseconds(),
	})
	r.mu.Unlock()
	r.line(name, detail)
}

// Say shows a line that is not a boot step.
func (r *Reporter) Say(source, text string) { r.line(source, text) }

// Fault reports something wrong that the node survives.
func (r *Reporter) Fault(source, text string) {
	f := status.Fault{Source: source, Text: text}
	r.Update(func(s *status.Report) {
		if known := slices.Contains(s.Faults, f); !known && len(s.Faults) < maxFaults {
			s.Faults = append(s.Faults, f)
		}
	})
	r.line(source, "FAULT "+text)
}

// Fatal logs what ends this boot. At this priority the kernel shows it on
// every console whatever the log level is.
func (r *Reporter) Fatal(step string, err error) {
	text := fmt.Sprintf("holdfast: boot: %s: %v", step, err)
	if werr := r.log.Write(kmsg.Emerg, text); werr != nil || r.log == nil {
		fmt.Fprintln(r.console, text)
	}
}

func (r *Reporter) line(source, text string) {
	line := fmt.Sprintf("%8.3f  %-18s %s", Now().Seconds(), source, text)
	fmt.Fprintln(r.console, line)
	_ = r.log.Write(kmsg.Info, "holdfast: "+strings.TrimSpace(source+": "+text)) // the console has it already
}

// Update changes the report under its lock, and publishes it soon.
func (r *Reporter) Update(change func(*status.Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report)
	if r.timer == nil {
		r.timer = time.AfterFunc(max(publishAfter, publishShare*r.took), func() { guard.Run(r.Publish) })
	}
}

// Publish writes the report to its file and to the host's port. Neither can
// hold PID 1 up: the file is on a tmpfs, the port does not block.
func (r *Reporter) Publish() {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	began := Now()
	defer func() {
		r.mu.Lock()
		r.took = Now() - began
		r.mu.Unlock()
	}()
	memory := memory()
	r.mu.Lock()
	r.timer = nil
	r.report.Memory = memory
	data, err := json.Marshal(&r.report)
	r.mu.Unlock()
	if err != nil {
		return
	}
	data = append(data, '\n')
	if err := replace(status.File, data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(r.console, "report:", err)
	}
	if r.port == nil {
		r.port = openPort()
	}
	if r.port != nil && !send(r.port, data) {
		r.port.Close()
		r.port = nil
	}
}

// send writes a report to the host's port; false: the port is of no use. One
// write takes up to 32 KiB (port_fops_write in drivers/char/virtio_console.c).
// A host that does not read loses reports, or the rest of one, and gets the next.
func send(port *os.File, data []byte) bool {
	for len(data) > 0 {
		n, err := unix.Write(int(port.Fd()), data)
		if err == unix.EAGAIN {
			return true
		}
		if err != nil {
			return false
		}
		data = data[n:]
	}
	return true
}

func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// openPort finds the virtio-serial port of the report by its name.
func openPort() *os.File {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil
	}
	for _, file := range names {
		if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) != status.Port {
			continue
		}
		fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(file)), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), "status port")
		}
	}
	return nil
}

func memory() status.Memory {
	return status.Memory{
		TotalKiB:       field("/proc/meminfo", "MemTotal"),
		AvailableKiB:   field("/proc/meminfo", "MemAvailable"),
		InitRSSKiB:     field("/proc/self/status", "VmRSS"),
		InitGoroutines: runtime.NumGoroutine(),
	}
}

// field reads one "Name: 123 kB" line; zero when it is not there.
func field(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var n int64
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// handover is where stage 1 leaves its report for stage 2.
const handover = "/run/holdfast/stage1.json"

// Save leaves the report for the next stage.
func (r *Reporter) Save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := json.Marshal(&r.report)
	if err != nil {
		return err
	}
	return os.WriteFile(handover, data, 0o600)
}

// Load takes the earlier stage's report over.
func (r *Reporter) Load() error {
	data, err := os.ReadFile(handover)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.Unmarshal(data, &r.report)
}
