package notify

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	s := FromEnvironment()
	for _, test := range []struct {
		send func() error
		want string
	}{
		{s.Ready, "READY=1"},
		{func() error { return s.Status("eth0 %s", "up") }, "STATUS=eth0 up"},
		{func() error { return s.Fault("eth0: %s", "two\nREADY=1") }, "X_FAULT=eth0: two READY=1"},
	} {
		if err := test.send(); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != test.want {
			t.Errorf("got %q, %v, want %q", b[:n], err, test.want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := FromEnvironment().Ready(); err != nil {
		t.Errorf("without a supervisor: %v", err)
	}
	if err := At(filepath.Join(t.TempDir(), "gone")).Ready(); err == nil {
		t.Error("a lost message is not reported")
	}
}
