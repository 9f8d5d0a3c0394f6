package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

// gateVariable is init/spec's GateVariable; this module does not link PID 1's.
const gateVariable = "HOLDFAST_GATE_FD"

// waitAtGate returns when PID 1 has closed the gate's other end, or at once
// where there is no gate. PID 1 bounds the wait: it opens the gate or ends us.
func waitAtGate([]string) error {
	value, ok := os.LookupEnv(gateVariable)
	if !ok {
		return nil
	}
	fd, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return fmt.Errorf("read %s: %q, want a file descriptor", gateVariable, value)
	}
	gate := os.NewFile(uintptr(fd), "gate")
	if _, err := io.Copy(io.Discard, gate); err != nil {
		return fmt.Errorf("wait at gate: %w", err)
	}
	return nil
}
