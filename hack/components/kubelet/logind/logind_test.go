package logind

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// connect is a client as kubelet has it.
func connect(t *testing.T) (*Server, *dbus.Conn) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "bus")
	s, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dbus.Connect("unix:path=" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); s.Close() })
	return s, conn
}

// inhibit takes an inhibitor and returns its file descriptor.
func inhibit(t *testing.T, conn *dbus.Conn) int {
	t.Helper()
	var fd uint32
	call := conn.Object("org.freedesktop.login1", path).Call(manager+".Inhibit", 0, "shutdown", "kubelet", "pods", "delay")
	if err := call.Store(&fd); err != nil {
		t.Fatal(err)
	}
	return int(fd)
}

func TestShutdownWaitsForTheInhibitor(t *testing.T) {
	s, conn := connect(t)
	if v, err := conn.Object("org.freedesktop.login1", path).GetProperty(manager + ".InhibitDelayMaxUSec"); err != nil || v.Value() != delayUSec {
		t.Fatalf("delay: %v, %v", v, err)
	}
	fd := inhibit(t, conn)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown")); err != nil {
		t.Fatal(err)
	}
	signals := make(chan *dbus.Signal, 1)
	conn.Signal(signals)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	released := make(chan error, 1)
	go func() { released <- s.Shutdown(ctx) }()
	select {
	case sig := <-signals:
		if sig.Name != manager+".PrepareForShutdown" || len(sig.Body) != 1 || sig.Body[0] != true {
			t.Errorf("signal %+v", sig)
		}
	case <-ctx.Done():
		t.Fatal("no signal")
	}
	select {
	case err := <-released:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	if err := syscall.Close(fd); err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
}

func TestShutdownHasADeadline(t *testing.T) {
	s, conn := connect(t)
	fd := inhibit(t, conn)
	defer syscall.Close(fd)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("no error although the inhibitor is held")
	}
}

func TestUnknownCallIsRefused(t *testing.T) {
	_, conn := connect(t)
	if err := conn.Object("org.freedesktop.login1", path).Call(manager+".PowerOff", 0, false).Err; err == nil {
		t.Error("no error")
	}
}
