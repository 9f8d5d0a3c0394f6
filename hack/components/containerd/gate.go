package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

// gateVariable is init/spec's GateVariable; this module does not link PID 1's.
const gateVariable = "HOLDFAST_GATE_FD"

// waitAtGate returns when PID 1 has closed the gate's other end. PID 1 bounds
// the wait: it opens the gate or ends us.
func waitAtGate(number string) error {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return fmt.Errorf("read %s: %q, want a file descriptor", gateVariable, number)
	}
	if _, err := io.Copy(io.Discard, os.NewFile(uintptr(fd), "gate")); err != nil {
		return fmt.Errorf("wait at gate: %w", err)
	}
	return nil
}
