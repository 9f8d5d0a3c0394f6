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

// End asks for the machine's end by a call. The driver is stopped, too: its
// answer may not get out.
func (b *Bed) End(call control.Call) {
	b.t.Helper()
	b.post(wire.Request{Op: "control", Text: string(call)})
}

// Events makes a call on a service and returns PID 1's events, from just
// before that until the service comes to a state.
func (b *Bed) Events(call control.Call, service, state string) (all []control.Event) {
	b.t.Helper()
	b.do(wire.Request{Op: "events", Text: string(call), Service: service, State: state}, &all)
	return all
}
