package bed

import (
	"holdfast/init/control"
	"holdfast/tests/bed/wire"
)

// Control makes a call over PID 1's control socket, from inside. Start, stop
// and restart wait until they are done. Into out, if it is not nil, goes what
// list, status and logs answer.
func (b *Bed) Control(call control.Call, service string, out any) error {
	return b.try(wire.Request{Op: "control", Text: string(call), Service: service}, out)
}

// Must is Control for a call that may not fail.
func (b *Bed) Must(call control.Call, service string) {
	b.t.Helper()
	if err := b.Control(call, service, nil); err != nil {
		b.t.Fatal(err)
	}
}

// Events collects PID 1's events while do runs and until a service comes to a
// state after it was called.
func (b *Bed) Events(service, state string, do func()) (all []control.Event) {
	b.t.Helper()
	done := make(chan error, 1)
	go func() { done <- b.try(wire.Request{Op: "events", Service: service, State: state}, &all) }()
	do()
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
	return all
}
