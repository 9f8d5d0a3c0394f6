package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/init/control"
	"holdfast/init/internal/supervise"
	"holdfast/init/spec"
	"holdfast/kernel/power"
	"holdfast/kernel/seqpacket"
)

func describe(t *testing.T, c *control.Client, name string) control.Service {
	t.Helper()
	s, err := c.Status(within(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServiceIsDescribed(t *testing.T) {
	n := start(t,
		service(t, "base", "echo hello; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 600", "critical=true"),
		service(t, "once", "exit 0", "type=oneshot", "requires=base"))
	c := n.dial(t)
	if c.Role() != control.Operator {
		t.Errorf("role is %q", c.Role())
	}
	if err := c.StartWait(within(t), "once"); err != nil {
		t.Fatal(err)
	}
	list, err := c.List(within(t))
	if err != nil || len(list) != 2 || list[0].Name != "base" || list[1].Name != "once" {
		t.Fatalf("%+v, %v", list, err)
	}
	eventually(t, "processor time", func() bool { return describe(t, c, "base").CPUUsec > 0 })
	base := describe(t, c, "base")
	if base.State != string(supervise.Ready) || base.Type != "simple" || base.PID <= 0 || !base.Critical || base.SinceMs != base.ReadyMs {
		t.Errorf("%+v", base)
	}
	once := describe(t, c, "once")
	if once.State != string(supervise.Done) || once.PID != 0 || once.LastExit != "exited with status 0" || strings.Join(once.Requires, "") != "base" {
		t.Errorf("%+v", once)
	}
	if _, err := c.Status(within(t), "ghost"); control.CodeOf(err) != control.Unknown || !strings.Contains(err.Error(), `"ghost"`) {
		t.Errorf("unknown service: %v", err)
	}
}

func TestOrdersAreWaitedFor(t *testing.T) {
	n := start(t,
		service(t, "base", "exec sleep 600"),
		service(t, "top", "exec sleep 600", "requires=base"))
	c := n.dial(t)
	if err := c.StartWait(within(t), "top"); err != nil {
		t.Fatal(err)
	}
	first := describe(t, c, "base")
	for range 5 {
		if err := c.RestartWait(within(t), "base"); err != nil {
			t.Fatal(err)
		}
		again := describe(t, c, "base")
		if again.PID == first.PID || again.State != "ready" {
			t.Errorf("after restart: %+v", again)
		}
		first = again
	}
	if err := c.StopWait(within(t), "base"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "top"} {
		if s := describe(t, c, name); s.State != "stopped" || s.PID != 0 {
			t.Errorf("after stop: %+v", s)
		}
	}
	if err := c.StopWait(within(t), "base"); err != nil {
		t.Errorf("stop of what is stopped: %v", err)
	}
	if err := c.StartWait(within(t), "top"); err != nil {
		t.Fatal(err)
	}
	if s := describe(t, c, "base"); s.State != "ready" {
		t.Errorf("required by what was started: %+v", s)
	}
	if !n.hasSaid("restart base: asked by process") {
		t.Error("nobody said who asked")
	}
}

func TestOrderThatFailsSaysWhy(t *testing.T) {
	n := start(t,
		service(t, "broken", "exit 3", "restart=never", "type=notify"),
		service(t, "needy", "exec sleep 600", "requires=broken"),
		service(t, "deaf", "exec sleep 600", "type=notify", "timeout-start=100ms", "restart=never"))
	c := n.dial(t)
	for name, want := range map[string]string{
		"broken": "failed: failed: exited with status 3",
		"needy":  "requires broken, which has failed: exited with status 3",
		"deaf":   "not ready within 100ms",
	} {
		if err := c.StartWait(within(t), name); control.CodeOf(err) != control.Failed || !strings.Contains(err.Error(), want) {
			t.Errorf("start %s: %v, want %q", name, err, want)
		}
	}
	if err := c.RestartWait(within(t), "broken"); control.CodeOf(err) != control.Failed {
		t.Errorf("restart broken: %v", err)
	}
	if err := c.Start(within(t), "broken"); err != nil {
		t.Errorf("start broken without waiting: %v", err)
	}
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestLogsAreReadAndFollowedAcrossRestarts(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	n := start(t, service(t, "a", "echo one; echo two; printf '%s\\n' "+long+"; exec sleep 600"))
	c := n.dial(t)
	want := "one\ntwo\n" + long + "\n"
	eventually(t, "first lines", func() bool {
		var out bytes.Buffer
		if err := c.Logs(within(t), "a", control.LogOptions{}, &out); err != nil {
			t.Fatal(err)
		}
		return out.String() == want
	})
	ctx, cancel := context.WithCancel(within(t))
	var out buffer
	ended := make(chan error, 1)
	go func() { ended <- c.Logs(ctx, "a", control.LogOptions{Lines: 1, Follow: true}, &out) }()
	eventually(t, "newest record", func() bool { return out.String() != "" })
	if err := c.RestartWait(within(t), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "next run's lines", func() bool { return strings.HasSuffix(out.String(), "\n"+want) })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var times bytes.Buffer
	if err := c.Logs(within(t), "a", control.LogOptions{Times: true, Since: time.Now().Add(-time.Hour)}, &times); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(times.String()) {
		if _, err := time.Parse(time.RFC3339, strings.Fields(line)[0]); err != nil {
			t.Error(err)
		}
	}
	var none bytes.Buffer
	err := c.Logs(within(t), "a", control.LogOptions{Since: time.Now().Add(time.Hour)}, &none)
	if err = errors.Join(err, c.Logs(within(t), "a", control.LogOptions{Previous: true}, &none)); err != nil || none.Len() > 0 {
		t.Errorf("%q, %v", none.String(), err)
	}
}

func TestEventsBeginWithWhatIsAndTellWhatHappens(t *testing.T) {
	n := start(t, service(t, "a", "exec sleep 600"), service(t, "b", "exec sleep 600"))
	c := n.dial(t)
	if err := errors.Join(c.StartWait(within(t), "a"), c.StartWait(within(t), "b")); err != nil {
		t.Fatal(err)
	}
	var got []string
	done := errors.New("enough")
	err := c.Events(within(t), func(e control.Event) error {
		if e.State != string(supervise.Sweeping) { // it comes only where something is left to sweep out
			got = append(got, fmt.Sprint(e.Kind, " ", e.Service, " ", e.State, e.Text))
		}
		if len(got) == 2 && e.Kind == control.EventNow {
			if err := c.Restart(within(t), "b"); err != nil {
				return err
			}
		}
		if len(got) > 2 && e.State == "ready" {
			n.Fault("b", "went wrong")
		}
		if e.Kind == control.EventFault {
			return done
		}
		return nil
	})
	want := "now a ready, now b ready, state b stopping, state b waiting, state b ready, fault b went wrong"
	if text := strings.Join(got, ", "); text != want || !errors.Is(err, done) {
		t.Errorf("got  %s, %v\nwant %s", text, err, want)
	}
}

func request(t *testing.T, n *node, r control.Request) *seqpacket.Conn {
	t.Helper()
	conn, err := seqpacket.Dial(n.path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r.Version = control.Version
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(b, limit); err != nil {
		t.Fatal(err)
	}
	return conn
}

// last reads to the end of the answers.
func last(t *testing.T, conn *seqpacket.Conn) *control.Error {
	t.Helper()
	for buf := make([]byte, control.MaxAnswer); ; {
		n, err := conn.Receive(buf, limit)
		if err != nil {
			t.Fatal(err)
		}
		a, err := control.DecodeAnswer(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if a.End {
			return a.Error
		}
	}
}

// taken counts the operator's slots in use.
func (n *node) taken(long bool) int {
	n.server.slots.mu.Lock()
	defer n.server.slots.mu.Unlock()
	return n.server.slots.taken[slot{control.Operator, long}]
}

func TestSlowReaderIsDroppedAndToldWhy(t *testing.T) {
	n := start(t, service(t, "loud", "while :; do echo a line that somebody should have read; done"), service(t, "a", "exec sleep 600"))
	conn := request(t, n, control.Request{Call: control.CallLogs, Service: "loud", Follow: true})
	c := n.dial(t)
	eventually(t, "slot of the slow reader is free", func() bool {
		if err := c.RestartWait(within(t), "a"); err != nil { // meanwhile nobody waits
			t.Fatal(err)
		}
		return n.taken(true) == 0
	})
	if e := last(t, conn); e == nil || e.Code != control.Slow {
		t.Errorf("told %v", e)
	}
}

func TestSilentClientIsDropped(t *testing.T) {
	n := start(t)
	conn, err := seqpacket.Dial(n.path, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if e := last(t, conn); e == nil || e.Code != control.Slow {
		t.Errorf("told %v", e)
	}
}

func TestGarbageCostsOnlyItsConnection(t *testing.T) {
	n := start(t, service(t, "a", "exec sleep 600"))
	for garbage, want := range map[string]control.Code{
		"x":                                      control.BadRequest,
		"{}":                                     control.BadVersion,
		"[1]":                                    control.BadRequest,
		`{"version":2,"call":"list"}`:            control.BadVersion,
		`{"version":1,"call":"levitate"}`:        control.BadRequest,
		`{"version":1,"call":"list","x":1}`:      control.BadRequest,
		`{"version":1,"call":"list"}{}`:          control.BadRequest,
		`{"version":1,"call":"logs","lines":-1}`: control.BadRequest,
		`{"version":1,"call":"status","service":""}`:                                              control.Unknown,
		`{"version":1,"call":"list","service":"` + strings.Repeat("a", control.MaxRequest) + `"}`: control.BadRequest,
		strings.Repeat("[", control.MaxRequest):                                                   control.BadRequest,
	} {
		conn, err := seqpacket.Dial(n.path, limit)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send([]byte(garbage), limit); err != nil {
			t.Fatal(err)
		}
		if e := last(t, conn); e == nil || e.Code != want {
			t.Errorf("%.40s: told %v, want %s", garbage, e, want)
		}
		conn.Close()
	}
	follow := request(t, n, control.Request{Call: control.CallEvents})
	if err := follow.Send([]byte("more"), limit); err != nil {
		t.Fatal(err)
	}
	if e := last(t, follow); e == nil {
		t.Error("a second request on one connection was not refused")
	}
	if list, err := n.dial(t).List(within(t)); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

func TestLongCallsLeaveRoomForOthers(t *testing.T) {
	n := start(t)
	long := limits[control.Operator].long
	for range long {
		request(t, n, control.Request{Call: control.CallEvents})
	}
	eventually(t, "long calls", func() bool {
		return n.taken(true) == long
	})
	if e := last(t, request(t, n, control.Request{Call: control.CallEvents})); e == nil || e.Code != control.Busy {
		t.Errorf("one more was told %v", e)
	}
	if _, err := n.dial(t).List(within(t)); err != nil {
		t.Error(err)
	}
}

func TestPowerOverTheSocket(t *testing.T) {
	n := start(t)
	c := n.dial(t)
	if err := errors.Join(c.PowerOff(within(t)), c.Reboot(within(t))); err != nil {
		t.Fatal(err)
	}
	if first, second := <-n.power, <-n.power; first != power.Off || second != power.Reboot {
		t.Error(first, second)
	}
	if !n.hasSaid("power-off: asked by process") {
		t.Error("nobody said who asked")
	}
}

// TestConnectionsLeakNothing opens and leaves connections in every way.
func TestConnectionsLeakNothing(t *testing.T) {
	n := start(t, service(t, "a", "echo x; exec sleep 600"))
	c := n.dial(t)
	count := func() (files, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	if err := c.StartWait(within(t), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "log file", func() bool { // it stays open
		found, err := filepath.Glob(n.logDir + "/a.*")
		return err == nil && len(found) == 1
	})
	files, goroutines := count()
	for i := range 3000 {
		conn, err := seqpacket.Dial(n.path, limit)
		if err != nil {
			t.Fatal(err)
		}
		r := control.Request{Version: control.Version, Service: "a", Follow: i%2 == 0}
		switch i % 6 {
		case 0, 1:
			r.Call = control.CallLogs
		case 2:
			r.Call, r.Follow = control.CallEvents, false
		case 3:
			r.Call = control.CallList
		case 4:
			r.Version = 9
		case 5:
			conn.Close() // without a word
			continue
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(b, limit)
		if i%12 < 6 {
			conn.Receive(make([]byte, 100), limit)
		}
		conn.Close()
	}
	eventually(t, "no more files and goroutines than before", func() bool {
		f, g := count()
		return f <= files && g <= goroutines
	})
	if n.taken(false) != 0 || n.taken(true) != 0 {
		t.Errorf("slots are taken: %d, %d long", n.taken(false), n.taken(true))
	}
}

func TestCloseEndsEveryCall(t *testing.T) {
	n := start(t, service(t, "a", "echo x; exec sleep 600"))
	follow := request(t, n, control.Request{Call: control.CallLogs, Service: "a", Follow: true})
	events := request(t, n, control.Request{Call: control.CallEvents})
	silent, err := seqpacket.Dial(n.path, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "all are seated", func() bool {
		n.server.mu.Lock()
		defer n.server.mu.Unlock()
		return len(n.server.conns) == 3
	})
	if err := n.server.Close(limit); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*seqpacket.Conn{follow, events, silent} {
		if e := last(t, conn); e == nil || e.Code != control.Closing {
			t.Errorf("told %v", e)
		}
	}
	if _, err := control.Dial(within(t), n.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	n.server, err = Listen(n.server.Config) // for the clean-up
	if err != nil {
		t.Fatal(err)
	}
}

// TestIdleServiceIsCheap: what a service costs PID 1 in all while nothing
// happens. Its process has printed, said that it is ready, and been started
// over.
func TestIdleServiceIsCheap(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes several times the memory")
	}
	const count, most = 100, 64 << 10
	resident := func() int64 {
		debug.FreeOSMemory()
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
	var services []*spec.Service
	for i := range count {
		services = append(services, service(t, fmt.Sprint("idle-", i), "echo started; echo ready; exec sleep 600"))
	}
	before := resident()
	n := start(t, services...)
	c := n.dial(t)
	for i := range count {
		name := fmt.Sprint("idle-", i)
		if err := errors.Join(c.StartWait(within(t), name), c.RestartWait(within(t), name)); err != nil {
			t.Fatal(err)
		}
	}
	if cost := (resident() - before) / count; cost > most {
		t.Errorf("an idle service costs %d bytes, at most %d", cost, most)
	} else {
		t.Logf("%d bytes each", cost)
	}
}
