package supervise

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/spec"
)

// TestNotifySockets: every message is read, names its sender, and belongs to
// the service whose socket it came by; files that come along are closed.
func TestNotifySockets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the sockets are below " + notifyDir)
	}
	sockets, err := newNotifySockets()
	if err != nil {
		t.Fatal(err)
	}
	const services, each = 40, 5
	var units []*unit
	for i := range services {
		u := &unit{Machine: Machine{Service: &spec.Service{Name: fmt.Sprintf("test-%d-%d", os.Getpid(), i), OCI: specs.Spec{Process: &specs.Process{}}}}}
		if err := sockets.listen(u); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(u.notifyPath) })
		units = append(units, u)
	}
	type said struct {
		u *unit
		m message
	}
	got := make(chan said, services*each)
	go sockets.receive(func(u *unit, m message) { got <- said{u, m} })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range each {
		for _, u := range units {
			send(t, u.notifyPath, "STATUS="+u.Service.Name, int(w.Fd()))
		}
	}
	count := map[*unit]int{}
	for range services * each {
		select {
		case s := <-got:
			count[s.u]++
			if s.m.status != s.u.Service.Name || s.m.pid != os.Getpid() {
				t.Errorf("service %s has the message %+v", s.u.Service.Name, s.m)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%v of %d messages of each came", count, each)
		}
	}
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a file that came with a message is still open: %v", err)
	}
}

// send sends a message with a file, as sd_notify(3) does for BARRIER=1.
func send(t *testing.T, path, text string, file int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(fd, []byte(text), unix.UnixRights(file), &unix.SockaddrUnix{Name: path}, 0); err != nil {
		t.Fatal(err)
	}
}
