package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/init/spec"
	"holdfast/tests/bed/wire"
)

// terminated is told of SIGTERM.
func terminated() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	return c
}

// serve becomes ready, keeps its watchdog content and ends at SIGTERM. With
// -meet it becomes ready only when that many services with the same meeting
// have started, with -part it ends only when that many were asked to end.
func serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	meeting := f.String("meet", "", "NAME:COUNT")
	parting := f.String("part", "", "NAME:COUNT")
	if err := f.Parse(args); err != nil {
		return err
	}
	term := terminated()
	if err := passGate(); err != nil {
		return err
	}
	if err := note("start"); err != nil {
		return err
	}
	if err := meet(*meeting); err != nil {
		return err
	}
	if err := note("ready"); err != nil {
		return err
	}
	if err := say("READY=1"); err != nil {
		return err
	}
	if err := rest(term); err != nil {
		return err
	}
	if err := meet(*parting); err != nil {
		return err
	}
	return note("end")
}

// passGate waits at the gate that an early service has.
func passGate() error {
	value, early := os.LookupEnv(spec.GateVariable)
	if !early {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(os.NewFile(uintptr(fd), "gate"))
	return err
}

// rest pings the watchdog until SIGTERM.
func rest(term <-chan os.Signal) error {
	var ping <-chan time.Time
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil {
		ping = time.NewTicker(time.Duration(usec) * time.Microsecond / 4).C
	}
	for {
		select {
		case <-term:
			return note("term")
		case <-ping:
			if err := say("WATCHDOG=1"); err != nil {
				return err
			}
		}
	}
}

// meet waits until enough services have come to a meeting, NAME:COUNT. It
// never ends when those are not let come at the same time.
func meet(meeting string) error {
	place, number, ok := strings.Cut(meeting, ":")
	if !ok {
		return nil
	}
	count, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	dir := filepath.Join("/run", "bed", place)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name()), nil, 0o644); err != nil {
		return err
	}
	for buf := make([]byte, 64<<10); ; {
		here, err := os.ReadDir(dir)
		if err != nil || len(here) >= count {
			return err
		}
		if _, err := unix.Read(watch, buf); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// exit ends at once with a status.
func exit(args []string) error {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(status)
	return nil
}

// short ends with status 0 and says that it did its work.
func short([]string) error {
	if err := note("start"); err != nil {
		return err
	}
	return note("done")
}

// count adds a byte to a file of its own at each start. While that is shorter
// than its argument, or the number in the file wire.Dir/limit when that is
// there, it ends at once; then it serves.
func count(args []string) error {
	if err := note("start"); err != nil {
		return err
	}
	f, err := appendTo(filepath.Join(wire.Dir, "count-"+name()))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write([]byte{'.'}); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	limit := args[0]
	if b, err := os.ReadFile(filepath.Join(wire.Dir, "limit")); err == nil {
		limit = string(b)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 64)
	if err != nil || st.Size() < n {
		return err
	}
	if err := say("STATUS=counted " + strconv.FormatInt(st.Size(), 10)); err != nil {
		return err
	}
	return rest(terminated())
}

// helpers serves, and runs one short-lived program after the other, each of
// which must end as it should: a status that another took would show.
func helpers([]string) error {
	term := terminated()
	if err := say("READY=1"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		select {
		case <-term:
			return note(fmt.Sprintf("ran-%d-helpers", n))
		default:
		}
		err := exec.Command("/proc/self/exe", "exit", strconv.Itoa(n%100)).Run()
		status := 0
		if ee, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Run returns it as it is
			status, err = ee.ExitCode(), nil
		}
		if err != nil || status != n%100 {
			return fmt.Errorf("helper %d ended with status %d, %w; want %d", n, status, err, n%100)
		}
	}
}
