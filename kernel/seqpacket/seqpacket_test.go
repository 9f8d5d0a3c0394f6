package seqpacket

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const limit = 10 * time.Second

// TestMain is also the other process of TestPeerIsWhoConnected: it connects,
// and stays until its standard input ends.
func TestMain(m *testing.M) {
	path := os.Getenv("SEQPACKET_TEST_DIAL")
	if path == "" {
		os.Exit(m.Run())
	}
	if _, err := Dial(path, limit); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func listen(t *testing.T) (*Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

func pair(t *testing.T) (server, client *Conn) {
	t.Helper()
	l, path := listen(t)
	client, err := Dial(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

func TestMessagesKeepTheirBoundaries(t *testing.T) {
	server, client := pair(t)
	for _, text := range []string{"one", "two", string(bytes.Repeat([]byte("x"), 64<<10))} {
		if err := client.Send([]byte(text), limit); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	buf := make([]byte, 64<<10)
	for _, size := range []int{3, 3, 64 << 10} {
		if n, err := server.Receive(buf, limit); n != size || err != nil {
			t.Errorf("got %d bytes, %v, want %d", n, err, size)
		}
	}
	if _, err := server.Receive(buf, limit); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func TestOverlongMessageIsAnError(t *testing.T) {
	server, client := pair(t)
	if err := client.Send(make([]byte, 11), limit); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(make([]byte, 10), limit); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
}

func TestReceiveEndsAtItsLimit(t *testing.T) {
	server, _ := pair(t)
	if _, err := server.Receive(make([]byte, 10), time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

// fill sends until the socket takes no more.
func fill(t *testing.T, c *Conn) (sent int) {
	t.Helper()
	for ; sent < 1000; sent++ {
		if err := c.Send(make([]byte, 32<<10), time.Millisecond); errors.Is(err, os.ErrDeadlineExceeded) {
			return sent
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("a peer that does not read was never felt")
	return 0
}

func TestLastMessageReachesAPeerThatDidNotRead(t *testing.T) {
	server, client := pair(t)
	sent := fill(t, server)
	if err := server.SendLast([]byte("why")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	buf := make([]byte, 64<<10)
	for range sent {
		if n, err := client.Receive(buf, limit); n != 32<<10 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if n, err := client.Receive(buf, limit); string(buf[:n]) != "why" || err != nil {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

func TestFilesThatAPeerAttachesAreNotTaken(t *testing.T) {
	server, client := pair(t)
	before := openFiles(t)
	err := client.raw.Control(func(fd uintptr) {
		for range 20 {
			if err := unix.Sendmsg(int(fd), []byte("x"), unix.UnixRights(0, 1, 2), nil, 0); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := server.Receive(make([]byte, 10), limit); err != nil {
			t.Fatal(err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, want %d", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDialWaitsWhileTheBacklogIsFull(t *testing.T) {
	l, path := listen(t)
	for range backlog + 1 {
		c, err := Dial(path, limit)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := Dial(path, 20*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want a deadline", err)
	}
	dialed := make(chan error, 1)
	go func() {
		c, err := Dial(path, limit)
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}

func TestPeerIsWhoConnected(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing credentials needs root")
	}
	l, path := listen(t)
	os.Chmod(filepath.Dir(path), 0o755)
	os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(1000 + i)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"SEQPACKET_TEST_DIAL=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 5678, Groups: many}}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Peer()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.UID != 1234 || p.GID != 5678 || p.PID != cmd.Process.Pid || !slices.Equal(p.Groups, many) {
		t.Errorf("peer is %+v", p)
	}
	if !p.Member(5678) || !p.Member(1099) || p.Member(1100) {
		t.Error("membership is wrong")
	}
	if path, err := p.Cgroup(); path == "" || err != nil {
		t.Errorf("cgroup %q, %v", path, err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if path, err := p.Cgroup(); err == nil {
		t.Errorf("a peer that has ended is in cgroup %q", path)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	server, client := pair(t)
	idle, _ := pair(t)
	l, _ := listen(t)
	ended := make(chan error, 3)
	go func() { _, err := l.Accept(); ended <- err }()
	go func() { _, err := idle.Receive(make([]byte, 1), 0); ended <- err }()
	fill(t, client)
	go func() { ended <- client.Send(make([]byte, 32<<10), limit) }()
	<-time.After(10 * time.Millisecond) // let them begin to wait; they must end either way
	l.Close()
	idle.Close()
	client.Close()
	for range 3 {
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	server.Close()
}
