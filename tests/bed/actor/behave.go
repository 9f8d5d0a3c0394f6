package main

import (
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func ignoreTerm() { signal.Ignore(syscall.SIGTERM) }

// linger does nothing for a long time. An empty select would not do: the
// runtime ends a program whose goroutines all wait for nothing.
func linger() error {
	<-time.After(24 * time.Hour)
	return nil
}

// deaf is ready, holds a file of the state volume open, and ignores SIGTERM.
func deaf([]string) error {
	ignoreTerm()
	f, err := busyFile()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := say("READY=1"); err != nil {
		return err
	}
	return linger()
}

// flood prints lines at full speed.
func flood([]string) error {
	if err := say("READY=1"); err != nil {
		return err
	}
	line := make([]byte, 0, 4096)
	for len(line) < 4000 {
		line = append(line, "the quick brown fox jumps over the lazy dog\n"...)
	}
	for {
		if _, err := syscall.Write(1, line); err != nil && err != syscall.EINTR {
			return err
		}
	}
}

// mute never becomes ready.
func mute([]string) error {
	if err := note("start"); err != nil {
		return err
	}
	return linger()
}

// hang becomes ready and is not heard of again.
func hang([]string) error {
	if err := say("READY=1"); err != nil {
		return err
	}
	return linger()
}

// signalItself dies by a signal.
func signalItself(args []string) error {
	if err := syscall.Kill(syscall.Getpid(), unix.SignalNum(args[0])); err != nil {
		return err
	}
	return linger()
}

// talk says all that fits into one message, and serves.
func talk([]string) error {
	if err := say("STATUS=" + strings.Repeat("x", 4000)); err != nil {
		return err
	}
	return serve(nil)
}
