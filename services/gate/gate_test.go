package gate

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/init/spec"
)

func TestWaitsForTheOtherEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// The gate closes its descriptor's file when collected: give it one of its own.
	fd, err := unix.Dup(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(spec.GateVariable, strconv.Itoa(fd))
	passed := make(chan error)
	go func() { passed <- Wait() }()
	select {
	case err := <-passed:
		t.Fatalf("passed a closed gate: %v", err)
	default:
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-passed; err != nil {
		t.Error(err)
	}
}

func TestWithoutGate(t *testing.T) {
	t.Setenv(spec.GateVariable, "") // so that it is restored
	os.Unsetenv(spec.GateVariable)
	if err := Wait(); err != nil {
		t.Error(err)
	}
}

func TestRefusesNonsense(t *testing.T) {
	t.Setenv(spec.GateVariable, "x")
	if Wait() == nil {
		t.Error("no error")
	}
}
