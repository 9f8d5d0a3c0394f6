package bed

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/init/status"
	"holdfast/rootfs/tree"
	"holdfast/tests/bed/wire"
	"holdfast/tests/qemu"
)

// Limit bounds every wait of a test. It is generous: the machines that run
// tests are slow and shared.
const Limit = 4 * time.Minute

// Config is what a test wants of its machine.
type Config struct {
	Services map[string]*specs.Spec
	Cmdline  string      // added to the usual kernel command line
	Machine  qemu.Config // what is not the bed's own: memory, processors, watchdog, further arguments
}

// Bed is a started machine.
type Bed struct {
	*qemu.VM
	t      testing.TB
	driver *driver
}

// Start boots a machine, which ends with the test. Without a built release a
// test is skipped, and in CI fails.
func Start(t testing.TB, c Config) *Bed {
	t.Helper()
	if err := missing(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("a bed needs what make build makes and installs: %v", err)
	}
	b := &Bed{t: t}
	if err := b.start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.driver.close() })
	return b
}

func (b *Bed) start(c Config) error {
	p, err := makeParts()
	if err != nil {
		return err
	}
	actor := tree.File{Path: Program, Source: p.actor, Mode: 0o755}
	made, err := Machine(b.t.Context(), complete(c.Services), []tree.File{actor}, b.t.TempDir())
	if err != nil {
		return err
	}
	m := c.Machine
	m.Kernel, m.Initrd, m.Cmdline = made.Kernel, made.Initrd, made.Cmdline+" "+c.Cmdline
	m.Disk, m.InPlace, m.NoTPM, m.NoNIC = made.Disk, true, made.NoTPM, made.NoNIC
	if m.MemoryMiB == 0 {
		m.MemoryMiB = 512
	}
	return b.boot(m)
}

// boot starts the machine with the driver's port.
func (b *Bed) boot(m qemu.Config) error {
	dir, err := os.MkdirTemp("", "bed") // a socket's path must be short
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "port"))
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // it was only listened on
	m.Args = append(slices.Clone(m.Args),
		"-chardev", "socket,id=bed,path="+listener.Addr().String(),
		"-device", "virtserialport,chardev=bed,name="+wire.Port)
	b.VM = qemu.StartT(b.t, m)
	conn, err := listener.Accept() // QEMU connected before it answered its first command
	if err != nil {
		return err
	}
	b.driver = newDriver(conn)
	return nil
}

// context bounds one wait.
func (b *Bed) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.t.Context(), Limit)
}

// Await waits for a report of PID 1.
func (b *Bed) Await(ok func(status.Report) bool) status.Report {
	b.t.Helper()
	ctx, cancel := b.context()
	defer cancel()
	r, err := b.WaitStatus(ctx, ok)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// AwaitService waits until a service is as ok says.
func (b *Bed) AwaitService(name string, ok func(status.Service) bool) status.Service {
	b.t.Helper()
	return Find(b.Await(func(r status.Report) bool { return ok(Find(r, name)) }), name)
}

// Find is the service of that name in a report, or none at all.
func Find(r status.Report, name string) status.Service {
	i := slices.IndexFunc(r.Services, func(s status.Service) bool { return s.Name == name })
	if i < 0 {
		return status.Service{}
	}
	return r.Services[i]
}

// In is a condition for AwaitService: the service is in that state.
func In(state string) func(status.Service) bool {
	return func(s status.Service) bool { return s.State == state }
}

// Up waits until the named services are ready, and the driver.
func (b *Bed) Up(names ...string) status.Report {
	b.t.Helper()
	return b.Await(func(r status.Report) bool {
		return !slices.ContainsFunc(append(names, driverName), func(name string) bool { return Find(r, name).State != "ready" })
	})
}

// Ended waits until the machine has ended, which must be for that reason.
func (b *Bed) Ended(reason string) {
	b.t.Helper()
	ctx, cancel := b.context()
	defer cancel()
	exit, err := b.Wait(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	if exit.Reason != reason {
		b.t.Fatalf("the machine ended by %q, want %q", exit.Reason, reason)
	}
}

// PowerOff asks PID 1 for an orderly end and waits for it.
func (b *Bed) PowerOff() {
	b.t.Helper()
	b.Kill(1, syscall.SIGTERM)
	b.Ended(qemu.GuestShutdown)
}
