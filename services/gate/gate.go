// Package gate is where an early service waits until PID 1 says that all it requires is ready.
package gate

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"holdfast/init/spec"
)

// Wait returns when PID 1 has closed its end of the gate, or at once in a
// process that is not held. PID 1 bounds the wait: it opens the gate or ends us.
func Wait() error {
	number, held := os.LookupEnv(spec.GateVariable)
	if !held {
		return nil
	}
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return fmt.Errorf("read %s: %q, want a file descriptor", spec.GateVariable, number)
	}
	if _, err := io.Copy(io.Discard, os.NewFile(uintptr(fd), "gate")); err != nil {
		return fmt.Errorf("wait at gate: %w", err)
	}
	return nil
}
