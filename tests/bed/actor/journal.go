package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/tests/bed/wire"
)

// name is the actor's service.
func name() string { return os.Getenv(wire.NameVariable) }

// note writes one event to the journal.
func note(event string) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return err
	}
	f, err := appendTo(wire.Journal)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %s %s\n", now.Nano(), name(), event)
	return errors.Join(err, f.Close())
}

// appendTo opens a file below wire.Dir for lines that come whole.
func appendTo(path string) (*os.File, error) {
	if err := os.MkdirAll(wire.Dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
}
