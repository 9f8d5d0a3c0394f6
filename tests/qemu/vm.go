package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"holdfast/init/status"
)

// VM is a started machine.
type VM struct {
	cfg     Config
	dir     string
	ownDir  bool // dir is ours to remove
	vars    string
	disk    string
	ports   map[int]int // guest → host
	console *console
	reports *reports
	qmp     *qmp
	started time.Time
	qemu    *process
	tpm     *process // nil: none

	mu     sync.Mutex
	reason string // of the last SHUTDOWN event
	resets int
	bitten bool          // the watchdog has fired
	done   chan struct{} // closed when QEMU and swtpm have ended
}

// Start starts a machine, which ends at the latest when ctx does. The caller
// calls Close when it needs the machine's files no more.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	if cfg.Accel == "" {
		cfg.Accel = Accel()
	}
	return startUnder(ctx, cfg)
}

// startUnder is Start with the accelerator given.
func startUnder(ctx context.Context, cfg Config) (*VM, error) {
	vm := &VM{cfg: cfg.withDefaults(), reports: newReports(), console: newConsole(cfg.Console), done: make(chan struct{})}
	if err := vm.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start machine: %w", err), vm.abandon())
	}
	context.AfterFunc(ctx, func() { vm.Close() })
	return vm, nil
}

func (vm *VM) start(ctx context.Context) error {
	if err := vm.makeFiles(ctx); err != nil {
		return err
	}
	if err := vm.launch(); err != nil {
		return err
	}
	go vm.finish()
	_, err := vm.qmp.do(ctx, "qmp_capabilities", nil)
	if err == nil {
		vm.ports, err = vm.forwards(ctx)
	}
	if errors.Is(err, ErrEnded) {
		<-vm.done
		return errors.New(vm.qemu.stderr.String()) // why QEMU refused to start
	}
	return err
}

// launch starts swtpm and QEMU on their channels.
func (vm *VM) launch() error {
	var inherited files
	defer inherited.close()
	w := wiring{vars: vm.vars, disk: vm.disk, fwCfg: map[string]string{}, statusPort: status.Port}
	for name := range vm.cfg.FWCfg {
		w.fwCfg[name] = vm.fwCfgFile(name)
	}
	channels := map[*int]net.Conn{}
	for name, fd := range map[string]*int{"qmp": &w.qmp, "console": &w.console, "status": &w.status} {
		conn, err := inherited.pair(name)
		if err != nil {
			return err
		}
		*fd, channels[fd] = inherited.fd(), conn
	}
	if !vm.cfg.NoTPM {
		theirs, err := vm.launchTPM()
		if err != nil {
			return err
		}
		inherited = append(inherited, theirs)
		w.tpm = inherited.fd()
	}
	if err := vm.launchQEMU(w, inherited); err != nil {
		return err
	}
	vm.qmp = newQMP(channels[&w.qmp])
	go vm.qmp.read(channels[&w.qmp], vm.event)
	go vm.console.read(channels[&w.console])
	go vm.reports.read(channels[&w.status])
	return nil
}

func (vm *VM) launchQEMU(w wiring, inherited files) (err error) {
	if w.pipe, err = os.Executable(); err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	args, err := arguments(vm.cfg, w)
	if err != nil {
		return err
	}
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.ExtraFiles = inherited
	vm.started = time.Now()
	vm.qemu, err = start(cmd)
	return err
}

// launchTPM starts swtpm and returns QEMU's end of its control channel.
func (vm *VM) launchTPM() (*os.File, error) {
	state := vm.cfg.TPMDir
	setDefault(&state, filepath.Join(vm.dir, "tpm"))
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("make TPM state: %w", err)
	}
	swtpmEnd, qemuEnd, err := socketpair("tpm")
	if err != nil {
		return nil, err
	}
	defer swtpmEnd.Close()
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--ctrl", "type=unixio,clientfd=3", "--flags", "startup-clear")
	cmd.ExtraFiles = []*os.File{swtpmEnd}
	if vm.tpm, err = start(cmd); err != nil {
		qemuEnd.Close()
		return nil, err
	}
	return qemuEnd, nil
}

// finish waits for QEMU and then ends swtpm.
func (vm *VM) finish() {
	<-vm.qemu.done
	if vm.tpm != nil {
		_ = vm.tpm.kill() // it has mostly ended with QEMU
	}
	close(vm.done)
}

// event notes what QEMU says about the machine's life.
func (vm *VM) event(name string, data json.RawMessage) {
	var d struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return // an event without data is none of those below
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	switch name {
	case "SHUTDOWN":
		vm.reason = d.Reason
	case "RESET":
		vm.resets++
	case "WATCHDOG":
		vm.bitten = true
	}
}

// Exit is how a machine ended.
type Exit struct {
	Reason string // GuestShutdown, GuestReset, or another of QEMU's; empty: killed
}

// Reasons for which a machine ends by itself.
const (
	GuestShutdown = "guest-shutdown"
	GuestReset    = "guest-reset" // with Config.Reboot unset
)

// Wait waits until the machine has ended.
func (vm *VM) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-vm.done:
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for the machine's end: %w\n%s", ctx.Err(), vm.console.last(30))
	}
	<-vm.qmp.ended // the reason comes on this channel
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if err := vm.qemu.err; err != nil && vm.reason == "" {
		return Exit{}, fmt.Errorf("machine ended: %w: %s", err, vm.qemu.stderr.String())
	}
	return Exit{Reason: vm.reason}, nil
}

// Started is when QEMU was started.
func (vm *VM) Started() time.Time { return vm.started }

// Done is closed when the machine has ended.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Resets counts the machine's resets, the firmware's own included.
func (vm *VM) Resets() int {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.resets
}

// Bitten tells whether the machine's watchdog device has fired.
func (vm *VM) Bitten() bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.bitten
}

// WaitConsole returns the first console line, from the start of the machine,
// that re matches. Its error shows the last 30 lines.
func (vm *VM) WaitConsole(ctx context.Context, re *regexp.Regexp) (Line, error) {
	return vm.console.wait(ctx, 0, re)
}

// WaitConsoleAfter is WaitConsole from the line after the given one on.
func (vm *VM) WaitConsoleAfter(ctx context.Context, line Line, re *regexp.Regexp) (Line, error) {
	return vm.console.wait(ctx, line.N+1, re)
}

// ConsoleLines returns what the console has shown.
func (vm *VM) ConsoleLines() []Line {
	lines, _, _ := vm.console.snapshot(0)
	return lines
}

// WaitStatus returns the first report of PID 1, the newest one included, that
// ok accepts. Beside an error it returns the newest report.
func (vm *VM) WaitStatus(ctx context.Context, ok func(status.Report) bool) (status.Report, error) {
	return vm.reports.wait(ctx, ok)
}

// QMP sends a command of the QEMU machine protocol and returns its answer.
func (vm *VM) QMP(ctx context.Context, cmd string, args any) (json.RawMessage, error) {
	return vm.qmp.do(ctx, cmd, args)
}

// PowerButton presses the power button; an orderly guest then shuts down.
func (vm *VM) PowerButton(ctx context.Context) error {
	_, err := vm.qmp.do(ctx, "system_powerdown", nil)
	return err
}

// Reset resets the machine as its reset button would.
func (vm *VM) Reset(ctx context.Context) error {
	_, err := vm.qmp.do(ctx, "system_reset", nil)
	return err
}

// Addr is where the host reaches a forwarded port of the guest; empty when the
// Config does not forward it.
func (vm *VM) Addr(guestPort int) string {
	host, ok := vm.ports[guestPort]
	if !ok {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", host)
}

// Disk is the image that the machine works on, and Vars its firmware variables.
// Read them when the machine has ended.
func (vm *VM) Disk() string { return vm.disk }
func (vm *VM) Vars() string { return vm.vars }

// Kill ends the machine as a power cut would, and waits for its end.
func (vm *VM) Kill() error {
	err := vm.qemu.kill()
	<-vm.done
	return err
}

// Close kills the machine if it runs and removes its temporary files.
func (vm *VM) Close() error {
	return errors.Join(vm.Kill(), vm.removeFiles())
}

// abandon is Close for a machine of which only a part was started.
func (vm *VM) abandon() error {
	var errs []error
	for _, p := range []*process{vm.qemu, vm.tpm} {
		if p != nil {
			errs = append(errs, p.kill())
		}
	}
	return errors.Join(append(errs, vm.removeFiles())...)
}
