// Package swtpm runs software TPMs for tests.
package swtpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TPM is a software TPM that has been started up. It is a transport of go-tpm's.
type TPM struct {
	conn net.Conn
	stop func() (said string)
}

// Dir is where a TPM keeps its state over restarts.
type Dir string

// NewDir makes a place for a TPM that never was: one with another seed.
func NewDir(t testing.TB) Dir {
	t.Helper()
	return Dir(t.TempDir())
}

// replyLimit bounds one command; making a key takes a fraction of a second.
const replyLimit = 30 * time.Second

// Start starts the TPM as a machine's reset does: its PCRs are zero. It ends
// with the test. Without swtpm the test is skipped, and in CI fails.
func (d Dir) Start(t testing.TB) *TPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil && os.Getenv("CI") == "" {
		t.Skip("swtpm is not installed")
	}
	tpm, err := d.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tpm.Stop)
	return tpm
}

// Serve starts the TPM on a UNIX socket, and one for its control, for programs
// of others: "swtpm:path=" and the socket's name is what they call it. Each
// connection finds the TPM as the one before left it.
func (d Dir) Serve(t testing.TB) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm-") // t.TempDir can be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "tpm")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir=.", "--flags", "not-need-init,startup-clear")
	cmd.Dir = string(d)
	for i, channel := range []struct{ option, name string }{{"--server", socket}, {"--ctrl", socket + ".ctrl"}} {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: channel.name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		f, err := listener.File()
		if err := errors.Join(err, listener.Close()); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Args = append(cmd.Args, channel.option, fmt.Sprintf("type=unixio,fd=%d", 3+i))
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	stop, err := run(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop() })
	return socket
}

// Dial connects to a TPM that is served; Stop only disconnects.
func Dial(t testing.TB, socket string) *TPM {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return &TPM{conn, func() string { return "swtpm is served" }}
}

func (d Dir) start() (*TPM, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tpm"), os.NewFile(uintptr(fds[1]), "swtpm")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	// With type=tcp it takes the descriptor for a connection, with unixio for a listener.
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir=.", "--server", "type=tcp,fd=3",
		"--flags", "not-need-init,startup-clear")
	cmd.Dir = string(d) // whose name may have a comma
	cmd.ExtraFiles = []*os.File{theirs}
	stop, err := run(cmd)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &TPM{conn, stop}, nil
}

// run starts a command that can't outlive this program: the kernel kills it
// when the thread that started it ends.
func run(cmd *exec.Cmd) (stop func() (said string), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, as a rule
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() string {
		_ = cmd.Process.Kill() // it may have ended
		<-done
		return fmt.Sprintf("swtpm: %v: %s", cmd.ProcessState, bytes.TrimSpace(stderr.Bytes()))
	}, nil
}

// Stop ends the TPM as a power cut does, or the connection to one that is served.
func (t *TPM) Stop() {
	t.stop()
	_ = t.conn.Close() // stopped before
}

// Send implements go-tpm's transport.TPM.
func (t *TPM) Send(command []byte) ([]byte, error) {
	response, err := t.send(command)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, t.stop())
	}
	return response, nil
}

func (t *TPM) send(command []byte) ([]byte, error) {
	if err := t.conn.SetDeadline(time.Now().Add(replyLimit)); err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(command); err != nil {
		return nil, err
	}
	const headerSize = 10 // tag, size, code
	reply := make([]byte, headerSize)
	if _, err := io.ReadFull(t.conn, reply); err != nil {
		return nil, err
	}
	size := int(reply[2])<<24 | int(reply[3])<<16 | int(reply[4])<<8 | int(reply[5])
	if size < headerSize || size > 4096 {
		return nil, fmt.Errorf("the TPM's response has %d bytes", size)
	}
	reply = append(reply, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(t.conn, reply[headerSize:])
	return reply, err
}
