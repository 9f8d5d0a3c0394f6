package bed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/status"
	"holdfast/tests/bed/wire"
)

// TestBed boots a machine with one service and tries what the driver can do.
func TestBed(t *testing.T) {
	t.Parallel()
	services := map[string]*specs.Spec{"one": Service(Set{"type": "notify"}, "serve")}
	for n := range 12 { // a report is longer than what the port takes at once
		services[fmt.Sprint("talk-", n)] = Service(Set{"type": "notify", "requires": "one"}, "talk")
	}
	b := Start(t, Config{Services: services})
	r := b.Await(func(r status.Report) bool { return r.Phase == status.Running && len(Find(r, "talk-11").Status) == 4000 })
	if r.Posture.State != "ext4" || r.Posture.VerityRoot == "" || r.Version != version {
		t.Errorf("state on %q, verity root %q, version %q", r.Posture.State, r.Posture.VerityRoot, r.Version)
	}
	if e := b.Run("exit", "3"); e.Status != 3 {
		t.Errorf("a program that ends with status 3 ended with %+v", e)
	}
	b.Write(wire.Dir+"/file", "text")
	if text := b.Read(wire.Dir + "/file"); text != "text" {
		t.Errorf("wrote text, read %q", text)
	}
	if err := b.try(wire.Request{Op: "read", Path: "/nothing"}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read what is not there: %v", err)
	}
	if err := b.try(wire.Request{Op: "sing"}, nil); err == nil || !strings.Contains(err.Error(), `no operation "sing"`) {
		t.Errorf("an unknown operation: %v", err)
	}
	if u := b.Usage(1); u.RSSKiB < 1000 || u.Threads < 2 || u.Files < 5 {
		t.Errorf("PID 1 holds %+v", u)
	}
	pid := Find(r, "one").PID
	if in := b.Within("one"); len(in) != 1 || in[0].PID != pid || in[0].PPID != 1 || in[0].Comm != "actor" {
		t.Errorf("in the service's group: %+v, want process %d", in, pid)
	}
	b.Kill(pid, syscall.SIGTERM)
	b.AwaitService("one", func(s status.Service) bool { return s.State == "ready" && s.Restarts == 1 })
	b.PowerOff()
	s := b.State()
	s.Clean()
	var whats []string
	for _, e := range s.Journal() {
		if e.Name == "one" {
			whats = append(whats, e.What)
		}
	}
	if want := []string{"start", "ready", "term", "end"}; !slices.Equal(whats[:min(len(whats), 4)], want) {
		t.Errorf("the service noted %v, want %v", whats, want)
	}
}

// TestRefusedServicesAreRefusedHere: a mistake in a test costs no boot.
func TestRefusedServicesAreRefusedHere(t *testing.T) {
	p := &parts{}
	for name, file := range map[string]*string{"init": &p.init, "actor": &p.actor} {
		*file = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(*file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bad := Service(Set{"type": "loud"}, "serve")
	_, err := p.makeRoot(t.Context(), map[string]*specs.Spec{"bad": bad}, nil, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "service bad") || !strings.Contains(err.Error(), "holdfast.type") {
		t.Errorf("got %v, want an error that names the service and the annotation", err)
	}
}
