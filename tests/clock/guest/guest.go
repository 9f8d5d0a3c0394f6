package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/floor"
	"holdfast/kernel/clock"
	"holdfast/kernel/loopback"
	"holdfast/kernel/mount"
	"holdfast/services/nodeconfig"
	"holdfast/services/timed"
	"holdfast/services/timed/ntp"
	"holdfast/services/timed/ntptest"
)

// limit bounds each wait; the machine may be slow.
const limit = time.Minute

// built is the release's build time, and start the true time at power-on.
var (
	built = time.Date(2026, 11, 24, 21, 0, 0, 0, time.UTC)
	start = time.Date(2027, 2, 3, 4, 5, 6, 0, time.UTC)
)

type guest struct {
	shift   atomic.Int64 // ns, added to the truth
	servers []*ntptest.Server
	said    chan string // by timed to its supervisor
	child   *exec.Cmd
	note    string
}

// truth does not depend on the clock that is tested.
func (g *guest) truth() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		panic(err)
	}
	return start.Add(time.Duration(ts.Nano()) + time.Duration(g.shift.Load()))
}

// wrong is how far the machine's clock is ahead of the truth.
func (g *guest) wrong() time.Duration { return time.Now().Round(0).Sub(g.truth()) }

const notifySocket = "/run/holdfast/notify"

func (g *guest) prepare() error {
	for _, m := range []mount.Mount{
		{Source: "proc", Target: "/proc", Type: "proc", Mode: 0o755},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Mode: 0o755},
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Mode: 0o755},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Data: "mode=0755", Mode: 0o755},
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	if err := errors.Join(os.MkdirAll(floor.Dir, 0o755), os.Chown(floor.Dir, floor.User, floor.User), os.MkdirAll(floor.Devices, 0o755), loopback.Up()); err != nil {
		return err
	}
	if err := g.serve(); err != nil {
		return err
	}
	names := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}
	config, err := json.Marshal(nodeconfig.Time{Servers: names, PTP: true})
	if err != nil {
		return err
	}
	return errors.Join(put(floor.BuildFile, floor.FormatBuild(built)), put(timed.Dir+"/timed/time.json", config),
		put(timed.Dir+"/netd/time/dhcp.json", []byte("null")), g.listen())
}

func put(path string, data []byte) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644))
}

// serve starts two honest servers, one far away, one that lies, one that is silent.
func (g *guest) serve() error {
	for i, b := range []ntptest.Behaviour{
		{Now: g.truth},
		{Now: func() time.Time { return g.truth().Add(time.Millisecond) }},
		{Now: g.truth, Delay: 200 * time.Millisecond},
		{Now: func() time.Time { return g.truth().Add(100 * 24 * time.Hour) }},
		{},
	} {
		s, err := ntptest.Listen(fmt.Sprintf("127.0.0.%d:%d", i+1, ntp.Port), b)
		if err != nil {
			return err
		}
		g.servers = append(g.servers, s)
	}
	return nil
}

func (g *guest) listen() error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifySocket, Net: "unixgram"})
	if err != nil {
		return err
	}
	g.said = make(chan string, 64)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			fmt.Printf("timed says %s\n", buf[:n])
			g.said <- string(buf[:n])
		}
	}()
	return os.Chown(notifySocket, floor.User, 0)
}

// launch starts timed as PID 1 does: as its own user, with one capability.
func (g *guest) launch() error {
	g.child = exec.Command("/proc/self/exe", "timed")
	g.child.Env = append([]string{"NOTIFY_SOCKET=" + notifySocket}, timed.Spec().Process.Env...)
	g.child.Stdout, g.child.Stderr = os.Stdout, os.Stderr
	g.child.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: floor.User, Gid: floor.User},
		AmbientCaps: []uintptr{unix.CAP_SYS_TIME},
	}
	if err := g.child.Start(); err != nil {
		return err
	}
	return g.hears("READY=1")
}

func (g *guest) hears(want string) error {
	deadline := time.After(limit)
	for {
		select {
		case got := <-g.said:
			if strings.Contains(got, want) {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("timed did not say %q within %s", want, limit)
		}
	}
}

// round makes timed have a round now: it looks again when netd writes.
func (g *guest) round() error {
	before := g.servers[0].Requests()
	if err := put(timed.Dir+"/netd/time/dhcp.json", []byte("null")); err != nil {
		return err
	}
	return wait("a request", func() bool { return g.servers[0].Requests() > before })
}

// wait looks every few milliseconds: nothing tells of a clock that moves.
func wait(what string, done func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("no %s within %s", what, limit)
		}
	}
	return nil
}

func within(d, bound time.Duration) bool { return -bound <= d && d <= bound }

func (g *guest) isPast() error {
	if now := time.Now().UTC(); now.Year() != 1990 {
		return fmt.Errorf("it says %s, want 1990", now)
	}
	return nil
}

func (g *guest) raise() error {
	behind, err := clock.Raise(built)
	if err != nil {
		return err
	}
	again, err := clock.Raise(built)
	if now := time.Now(); err != nil || again != 0 || now.Before(built) || now.Sub(built) > limit || behind < 36*365*24*time.Hour {
		return fmt.Errorf("was behind by %s, then %s, now %s, %w", behind, again, now.UTC(), err)
	}
	if s, err := clock.Read(); err != nil || s.Synced {
		return fmt.Errorf("a clock that was set by hand counts as synchronised: %+v, %w", s, err)
	}
	return nil
}

func (g *guest) first() error {
	if err := g.launch(); err != nil {
		return err
	}
	if err := g.hears("STATUS=synchronised to 127.0.0.1, 127.0.0.2, 127.0.0.3"); err != nil {
		return err
	}
	s, err := clock.Read()
	g.note = fmt.Sprintf(": wrong by %s, %+v", g.wrong(), s)
	if err != nil || !s.Synced || s.MaxError > time.Second || !within(g.wrong(), s.MaxError+20*time.Millisecond) {
		return fmt.Errorf("%s, %w", g.note, err)
	}
	return nil
}

func (g *guest) rights() error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.child.Process.Pid))
	if err != nil {
		return err
	}
	for _, want := range []string{"Uid:\t100\t100\t100\t100", "CapEff:\t0000000002000000", "CapPrm:\t0000000002000000"} {
		if !strings.Contains(string(b), want) {
			return fmt.Errorf("no %q in %s", want, b)
		}
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			g.note += " " + strings.Join(strings.Fields(line), " ")
		}
	}
	return nil
}

// slew: the clock, which is ahead, comes to the truth and never goes back. It
// is the first offset after a step, and says nothing about the frequency.
func (g *guest) slew() error {
	g.shift.Store(int64(-200 * time.Millisecond))
	if err := g.round(); err != nil {
		return err
	}
	last, back := time.Now().Round(0), false
	err := wait("slew", func() bool {
		now := time.Now().Round(0)
		back = back || now.Before(last)
		last = now
		return within(g.wrong(), 20*time.Millisecond)
	})
	s, readErr := clock.Read()
	g.note = fmt.Sprintf(": %+v", s)
	if back || s.Frequency != 0 || s.Offset >= 0 {
		return fmt.Errorf("went back %v%s", back, g.note)
	}
	return errors.Join(err, readErr)
}

func (g *guest) jump() error {
	g.shift.Add(int64(-10 * time.Second))
	for range 3 {
		if err := g.round(); err != nil {
			return err
		}
	}
	if w := g.wrong(); !within(w-10*time.Second, time.Second) {
		return fmt.Errorf("wrong by %s in the third round, want 10s", w)
	}
	if err := g.round(); err != nil {
		return err
	}
	if err := g.hears("X_FAULT=clock had been synchronised and was wrong by -"); err != nil {
		return err
	}
	if w := g.wrong(); !within(w, 50*time.Millisecond) {
		return fmt.Errorf("still wrong by %s", w)
	}
	return nil
}

// outvoted: with two of three honest servers silent, the clock runs free.
func (g *guest) outvoted() error {
	honest := make([]ntptest.Behaviour, 3)
	for i, s := range g.servers[:3] {
		honest[i] = ntptest.Behaviour{Now: g.truth}
		s.Behave(ntptest.Behaviour{})
	}
	before := g.wrong()
	if err := g.round(); err != nil {
		return err
	}
	if err := g.hears("STATUS=runs free: only 1 of 1 servers"); err != nil {
		return err
	}
	if w := g.wrong(); !within(w-before, 50*time.Millisecond) {
		return fmt.Errorf("moved from %s to %s", before, w)
	}
	for i, s := range g.servers[:3] {
		s.Behave(honest[i])
	}
	if err := g.round(); err != nil {
		return err
	}
	return g.hears("STATUS=synchronised to")
}

func (g *guest) stop() error {
	if err := g.child.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := g.child.Wait(); err != nil {
		return err
	}
	last, err := floor.Last(floor.LastFile, built)
	if since := time.Since(last); err != nil || !within(since, 5*time.Second) {
		return fmt.Errorf("last known time %s, %s ago, %w", last, since, err)
	}
	return nil
}

func (g *guest) restart() error {
	if s, err := clock.Read(); err != nil || !s.Synced {
		return fmt.Errorf("not synchronised any more: %+v, %w", s, err)
	}
	g.shift.Add(int64(-100 * time.Millisecond))
	if err := g.launch(); err != nil {
		return err
	}
	if err := g.hears("STATUS=synchronised to"); err != nil {
		return err
	}
	if w := g.wrong(); w < 50*time.Millisecond {
		return fmt.Errorf("wrong by %s right after the first round: it was stepped", w)
	}
	s, err := clock.Read()
	if err != nil || s.Frequency != 0 {
		return fmt.Errorf("the frequency was changed: %+v, %w", s, err)
	}
	return wait("slew", func() bool { return within(g.wrong(), 10*time.Millisecond) })
}

// learn: an offset that a frequency can have made changes it.
func (g *guest) learn() error {
	g.shift.Add(int64(-15 * time.Millisecond))
	if err := g.round(); err != nil {
		return err
	}
	var s clock.State
	err := wait("change of the frequency", func() bool {
		var err error
		s, err = clock.Read()
		return err == nil && s.Frequency < 0
	})
	g.note = fmt.Sprintf(": %+v", s)
	return err
}
