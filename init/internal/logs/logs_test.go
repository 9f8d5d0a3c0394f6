package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/mount"
	"holdfast/kernel/pipe"
)

const limit = 20 * time.Second

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		select {
		case <-tick.C:
			if ok() {
				return
			}
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// store is closed at the test's end.
func store(t *testing.T, dir string) *Store {
	t.Helper()
	s := New(dir, func(text string) { t.Log(text) })
	t.Cleanup(func() { s.Close(limit) })
	return s
}

func stop(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(limit); err != nil {
		t.Fatal(err)
	}
}

// attach gives the write end of a pipe that the log reads.
func attach(t *testing.T, l *Log) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.Attach(r)
	t.Cleanup(func() { w.Close() })
	return w
}

func put(t *testing.T, w *os.File, text string) {
	t.Helper()
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// lines reads what is there now; remarks by PID 1 are in brackets.
func lines(t *testing.T, l *Log, o Options) (out []string) {
	t.Helper()
	err := l.Read(context.Background(), o, func(lines []Line) error {
		for _, line := range lines {
			out = append(out, line.String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// content is what a service's files hold together.
func content(t *testing.T, dir, service string) (text string) {
	t.Helper()
	all, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.service == service {
			b, err := os.ReadFile(filepath.Join(dir, fileName(k.service, k.part)))
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
	}
	return text
}

// texts is content without time stamps and kinds.
func texts(t *testing.T, dir, service string) string {
	t.Helper()
	parsed, rest := parseLines([]byte(content(t, dir, service)))
	if len(rest) > 0 {
		t.Errorf("file ends with a torn record %q", rest)
	}
	var b strings.Builder
	for _, line := range parsed {
		if line.Kind == Foreign {
			t.Errorf("not a record: %q", line.Text)
		}
		b.Write(line.Text)
		if line.Kind != Piece {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func TestLinesReachMemoryAndFile(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	l := s.Log("a")
	w := attach(t, l)
	put(t, w, "one\ntwo\nthr")
	eventually(t, "two lines in memory", func() bool { return strings.Join(l.Tail(9), "|") == "one|two" })
	put(t, w, "ee\n\nlast")
	w.Close()
	eventually(t, "last line without newline", func() bool { return strings.Join(l.Tail(3), "|") == "three||last" })
	stop(t, s)
	if got := texts(t, dir, "a"); got != "one\ntwo\nthree\n\nlast\n" {
		t.Errorf("file holds %q", got)
	}
	if got := strings.Join(lines(t, l, Options{Lines: 2}), "|"); got != "|last" {
		t.Errorf("newest two are %q", got)
	}
}

func TestOverlongLineIsKeptInPieces(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	w := attach(t, s.Log("a"))
	long := strings.Repeat("0123456789", 3000)
	for _, piece := range []string{long[:5000], long[5000:] + "\n", "x\n"} {
		put(t, w, piece)
	}
	w.Close()
	stop(t, s)
	if got := texts(t, dir, "a"); got != long+"\nx\n" {
		t.Errorf("%d bytes came back, want %d", len(got), len(long)+3)
	}
	for line := range strings.Lines(content(t, dir, "a")) {
		if len(line) > recordBytes {
			t.Errorf("a record has %d bytes", len(line))
		}
	}
}

func TestCloseWritesWhatIsStillInThePipes(t *testing.T) {
	for range 50 {
		dir := t.TempDir()
		s := New(dir, func(text string) { t.Error(text) })
		want := strings.Repeat("a line of a service that has just ended\n", 1500) // 60 KB: fits a pipe
		for n := range 4 {
			w := attach(t, s.Log(fmt.Sprint("s", n)))
			put(t, w, want+"rest")
			if n%2 == 0 {
				w.Close()
			} // else something the service left behind holds the pipe
		}
		stop(t, s)
		for n := range 4 {
			if got := texts(t, dir, fmt.Sprint("s", n)); got != want+"rest\n" {
				t.Fatalf("file holds %d bytes, want %d", len(got), len(want)+5)
			}
		}
	}
}

// TestCloseWritesALargePipe: more than memory keeps, so that the writer has to
// be waited for.
func TestCloseWritesALargePipe(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, func(text string) { t.Error(text) })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pipe.Grow(r, 1<<20); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("a line of forty bytes, with its newline\n", 1<<20/40)
	put(t, w, want)
	s.Log("a").Attach(r)
	stop(t, s)
	w.Close()
	if got := texts(t, dir, "a"); got != want {
		t.Errorf("file holds %d bytes, want %d", len(got), len(want))
	}
}

func TestOutputAfterCloseReachesMemoryOnly(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	l := s.Log("a")
	w := attach(t, l)
	put(t, w, "early\n")
	stop(t, s)
	put(t, w, "late\n")
	eventually(t, "late line", func() bool { return strings.Join(l.Tail(1), "") == "late" })
	stop(t, s)
	if got := texts(t, dir, "a"); got != "early\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestNothingIsLostBeforeTheDirectoryIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	s := store(t, dir)
	l := s.Log("a")
	w := attach(t, l)
	put(t, w, "first\n")
	eventually(t, "line in memory", func() bool { return len(l.Tail(1)) == 1 })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Retry()
	eventually(t, "line in file", func() bool { return texts(t, dir, "a") == "first\n" })
	if l.Dropped() != 0 {
		t.Errorf("%d bytes count as dropped", l.Dropped())
	}
}

// volume mounts a small tmpfs.
func volume(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	m := mount.Mount{Source: "tmpfs", Target: dir, Type: "tmpfs", Data: "size=" + size}
	if err := m.Do(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFullKeepsTheNewestInMemoryAndSaysWhatIsLost(t *testing.T) {
	dir := volume(t, "64m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<20-128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	s := New(dir, func(text string) { said <- text })
	defer s.Close(limit)
	l := s.Log("a")
	w := attach(t, l)
	for n := range 100000 { // 3 MB of records: more than memory keeps
		put(t, w, fmt.Sprintf("%05d\n", n))
	}
	eventually(t, "newest line", func() bool { return l.Tail(1)[0] == "99999" })
	if text := <-said; !strings.Contains(text, "no space left") || len(said) > 0 {
		t.Errorf("said %q and %d more", text, len(said))
	}
	if l.Dropped() == 0 {
		t.Error("nothing counts as dropped")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.Retry()
	put(t, w, "end\n")
	w.Close()
	stop(t, s)
	text := texts(t, dir, "a")
	if !strings.HasSuffix(text, "99998\n99999\nend\n") || !strings.Contains(text, "bytes were lost here") {
		t.Errorf("file ends %q", text[max(0, len(text)-100):])
	}
}

// TestFloodIsBoundedAndAccountedFor: every byte that a flooding process wrote
// is in a line or in a remark on dropped ones.
func TestFloodIsBoundedAndAccountedFor(t *testing.T) {
	dir := t.TempDir()
	s := store(t, dir)
	l := s.Log("a")
	quiet := attach(t, s.Log("b"))
	put(t, quiet, "before\n")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.Attach(r)
	const size = 64 << 20
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`yes "%s" | head -c %d; echo; echo last words`, strings.Repeat("flood ", 70), size))
	cmd.Stdout = w
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	put(t, quiet, "after\n")
	eventually(t, "last words", func() bool { return strings.Join(l.Tail(1), "") == "last words" })
	if memory := l.ring.end - l.ring.first(); memory > memoryMost {
		t.Errorf("%d bytes are in memory", memory)
	}
	stop(t, s)
	counted, marks := l.Dropped(), int64(0)
	for line := range strings.Lines(texts(t, dir, "a")) {
		if strings.Contains(line, "were dropped") {
			marks++
		} else {
			counted += int64(len(line))
		}
	}
	more := counted - int64(size+len("\nlast words\n")) // a line that is cut short has a newline for its rest
	if more < 0 || more > marks || l.Dropped() == 0 || marks == 0 {
		t.Errorf("%d bytes too many are kept or counted, with %d marks; %d dropped", more, marks, l.Dropped())
	}
	if got := texts(t, dir, "b"); got != "before\nafter\n" {
		t.Errorf("the other service's file holds %q", got)
	}
}

func TestNewestPieceOfAFloodIsSeenWhileItsServiceLivesOn(t *testing.T) {
	l := store(t, t.TempDir()).Log("a")
	w := attach(t, l)
	flood := strings.Repeat(strings.Repeat("x", 99)+"\n", 1<<20/100)
	for l.Dropped() == 0 { // bytes are counted when the newest piece is looked at
		put(t, w, flood)
		l.mu.Lock()
		spent := l.budget.bytes < readBytes
		l.mu.Unlock()
		if spent {
			break
		}
	}
	put(t, w, flood+"last words\n")
	eventually(t, "last words", func() bool { return strings.Join(l.Tail(1), "") == "last words" })
}

func TestFilesAreBoundedAndAFloodCostsItsOwnHistory(t *testing.T) {
	const size = 8 << 20
	dir := volume(t, strconv.Itoa(size))
	for boot := range 3 {
		s := New(dir, func(text string) { t.Error(text) })
		quiet, loud := attach(t, s.Log("quiet")), attach(t, s.Log("loud"))
		put(t, quiet, fmt.Sprintf("boot %d\n", boot))
		for range 20 {
			put(t, loud, strings.Repeat("x", 1000)+strings.Repeat("\nsome line or other", 3000)+"\n")
		}
		loud.Close()
		stop(t, s)
		all, err := list(dir)
		if err != nil {
			t.Fatal(err)
		}
		total, count := int64(0), 0
		for _, k := range all {
			total += k.onDisk()
			if k.service == "loud" {
				count++
			}
		}
		if total > size/totalShare || count > partsMost || count < 2 {
			t.Errorf("boot %d: %d bytes in all, %d files of one service", boot, total, count)
		}
	}
	if got := texts(t, dir, "quiet"); got != "boot 0\nboot 1\nboot 2\n" {
		t.Errorf("the quiet service has left %q", got)
	}
}

func TestMakeRoomTakesFromTheLargest(t *testing.T) {
	file := func(service string, number int, size int64, open bool) kept {
		return kept{service, part{boot: 1, number: number, size: size}, open}
	}
	f := files{boot: 1, limit: 100 << 10, all: []kept{
		file("quiet", 1, 1, false), file("loud", 1, 40<<10, false), file("other", 1, 30<<10, false),
		file("loud", 2, 1, false), file("quiet", 2, 60<<10, true),
	}}
	name := func(gone []kept) (names []string) {
		for _, k := range gone {
			names = append(names, fileName(k.service, k.part))
		}
		return names
	}
	for size, want := range map[int64]string{
		0:        "loud.1.1.log",
		20 << 10: "loud.1.1.log other.1.1.log",
		40 << 10: "loud.1.1.log other.1.1.log loud.1.2.log quiet.1.1.log", // and no more: quiet's other one is open
	} {
		if got := strings.Join(name(f.makeRoom("new", size)), " "); got != want {
			t.Errorf("room for %d: %s, want %s", size, got, want)
		}
	}
	for n := range partsMost {
		f.all = append(f.all, file("many", n, 1, n == partsMost-1))
	}
	if got := name(f.makeRoom("many", 0)); got[0] != "many.1.0.log" {
		t.Errorf("another file of one that has %d: %v", partsMost, got)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a.log", "a.1.log", "a.01.1.log", "a.1.-1.log", ".1.1.log", "a.1.1.log.gz", "a.99999999999.1.log", "a b.1.1.txt"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "a.7.1.log")); err != nil {
		t.Fatal(err)
	}
	if all, err := list(dir); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestRestartsLeakNothing: each restart of a service attaches a pipe.
func TestRestartsLeakNothing(t *testing.T) {
	s := store(t, t.TempDir())
	l := s.Log("a")
	count := func() (files, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	w := attach(t, l)
	put(t, w, "x\n")
	w.Close()
	stop(t, s) // the writer has opened and closed its file
	eventually(t, "end of the input", func() bool { return len(s.inputs()) == 0 })
	files, goroutines := count()
	for n := range 5000 {
		w := attach(t, l)
		put(t, w, fmt.Sprintf("run %d\n", n))
		w.Close()
	}
	eventually(t, "ends of all inputs", func() bool { return len(s.inputs()) == 0 })
	eventually(t, "no more files and goroutines than before", func() bool {
		f, g := count()
		return f <= files && g <= goroutines
	})
}

// TestIdleLogIsCheap: what an idle service's log costs, its pipe's goroutine
// and file included.
func TestIdleLogIsCheap(t *testing.T) {
	const n, most = 500, 16 << 10
	s := store(t, t.TempDir())
	if got := idleCost(t, s, n); got > most {
		t.Errorf("an idle log costs %d bytes, at most %d", got, most)
	} else {
		t.Logf("%d bytes each", got)
	}
}

func idleCost(t testing.TB, s *Store, n int) int64 {
	used := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	before := used()
	var pipes []*os.File
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, w)
		l := s.Log(fmt.Sprint("idle", i))
		l.Attach(r)
		if _, err := w.WriteString("started\nready\n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range s.logs {
		for len(l.Tail(2)) < 2 {
			runtime.Gosched()
		}
	}
	cost := (used() - before) / int64(n)
	for _, w := range pipes {
		w.Close()
	}
	return cost
}

func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := New(b.TempDir(), func(string) {})
		b.StartTimer()
		b.ReportMetric(float64(idleCost(b, s, 200)), "bytes/log")
		b.StopTimer()
		s.Close(limit)
		b.StartTimer()
	}
}

// BenchmarkFlood is a process that prints as fast as it can: what reaches PID
// 1 a second, and how much processor time PID 1 spends on it.
func BenchmarkFlood(b *testing.B) {
	s := New("/dev/shm/"+b.Name(), func(text string) { b.Log(text) })
	os.MkdirAll(s.dir, 0o755)
	defer os.RemoveAll(s.dir)
	l := s.Log("a")
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	l.Attach(r)
	const chunk = 64 << 20
	b.SetBytes(chunk)
	before, began := ownTime(b), time.Now()
	for b.Loop() {
		cmd := exec.Command("sh", "-c", fmt.Sprintf("yes 'a line of a service that has about as many bytes as lines of services do have' | head -c %d", chunk))
		cmd.Stdout = w
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*(ownTime(b)-before).Seconds()/time.Since(began).Seconds(), "%cpu")
	w.Close()
	s.Close(limit)
	b.ReportMetric(float64(l.Dropped())/float64(b.N)/chunk*100, "%dropped")
}

// ownTime is this process's processor time (proc(5), stat fields 14 and 15, in
// 1/100 s).
func ownTime(b *testing.B) time.Duration {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkSplit is what it takes to make records of output, whatever becomes of them.
func BenchmarkSplit(b *testing.B) {
	s := New("/dev/shm/"+b.Name(), func(text string) { b.Log(text) })
	os.MkdirAll(s.dir, 0o755)
	defer os.RemoveAll(s.dir)
	l := s.Log("a")
	in := &input{log: l}
	chunk := []byte(strings.Repeat("a line of a service that has about as many bytes as lines of services do have\n", readBytes/79))
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		in.add(chunk)
	}
	s.Close(limit)
}
