package luks2

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"testing"
)

const (
	pageSize   = 4096
	atom       = 512 // what a device writes as a whole
	testDevice = DataOffset + 1<<20
)

// memory is a sparse device, whose pages are never changed, only replaced.
type memory struct {
	size  int64
	pages map[int64][]byte
}

func newMemory() *memory { return &memory{testDevice, map[int64][]byte{}} }

func (m *memory) clone() *memory { return &memory{m.size, maps.Clone(m.pages)} }

func (m *memory) ReadAt(b []byte, at int64) (int, error) {
	n := int(min(int64(len(b)), max(m.size-at, 0)))
	for done := 0; done < n; {
		page, from := (at+int64(done))/pageSize, int((at+int64(done))%pageSize)
		part := b[done:min(n, done+pageSize-from)]
		clear(part)
		if p := m.pages[page]; p != nil {
			copy(part, p[from:])
		}
		done += len(part)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > m.size {
		return 0, io.ErrShortWrite
	}
	for done := 0; done < len(b); {
		page, from := (at+int64(done))/pageSize, int((at+int64(done))%pageSize)
		fresh := make([]byte, pageSize)
		copy(fresh, m.pages[page])
		done += copy(fresh[from:], b[done:])
		m.pages[page] = fresh
	}
	return len(b), nil
}

func (m *memory) Sync() error { return nil }

// recorder keeps what is done to a device.
type recorder struct {
	*memory
	start *memory
	ops   []op
}

// op is a write, or a flush when there is no data.
type op struct {
	at   int64
	data []byte
}

func record(from *memory) *recorder { return &recorder{memory: from.clone(), start: from.clone()} }

func (r *recorder) WriteAt(b []byte, at int64) (int, error) {
	r.ops = append(r.ops, op{at, bytes.Clone(b)})
	return r.memory.WriteAt(b, at)
}

func (r *recorder) Sync() error {
	r.ops = append(r.ops, op{})
	return nil
}

// cuts calls look with every state in which a power cut can leave the device:
// at any operation, what was flushed is there; of the writes since, any subset,
// each whole or torn.
func (r *recorder) cuts(t *testing.T, look func(*memory)) (states int) {
	t.Helper()
	flushed, pending := r.start.clone(), []op(nil)
	see := func(m *memory) { states++; look(m) }
	see(flushed)
	for _, o := range r.ops {
		if o.data == nil {
			for _, p := range pending {
				apply(t, flushed, p)
			}
			pending = nil
			continue
		}
		pending = append(pending, o)
		if len(pending) > 8 {
			t.Fatal("too many writes without a flush to look at all subsets")
		}
		for subset := range 1 << (len(pending) - 1) { // o itself is always among them
			for _, part := range torn(o) {
				m := flushed.clone()
				for i, p := range pending[:len(pending)-1] {
					if subset>>i&1 == 1 {
						apply(t, m, p)
					}
				}
				apply(t, m, part)
				see(m)
			}
		}
	}
	if pending != nil {
		t.Error("the last writes were not flushed")
	}
	return states
}

// torn are ways in which a write can be done: as a whole, or parts of it.
func torn(o op) []op {
	ways := []op{o}
	at := []int{atom, 2 * atom, pageSize, pageSize + atom, len(o.data) / 2 / atom * atom, len(o.data) - atom}
	slices.Sort(at)
	for _, n := range slices.Compact(at) {
		if n > 0 && n < len(o.data) {
			ways = append(ways, op{o.at, o.data[:n]}, op{o.at + int64(n), o.data[n:]})
		}
	}
	return ways
}

func apply(t testing.TB, m *memory, o op) {
	t.Helper()
	if _, err := m.WriteAt(o.data, o.at); err != nil {
		t.Fatal(err)
	}
}

func TestRecorder(t *testing.T) {
	r := record(newMemory())
	for _, o := range []op{{0, bytes.Repeat([]byte("a"), 2*atom)}, {4096, []byte("b")}, {}, {8192, []byte("c")}, {}} {
		if o.data == nil {
			if err := r.Sync(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		apply(t, r.memory, o)
		r.ops = append(r.ops, o)
	}
	var seen []string
	states := r.cuts(t, func(m *memory) {
		b := make([]byte, 9000)
		if _, err := m.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, string([]byte{b[0], b[atom], b[4096], b[8192]}))
	})
	want := []string{
		"\x00\x00\x00\x00", "aa\x00\x00", "a\x00\x00\x00", "\x00a\x00\x00", // first write, whole and torn
		"\x00\x00b\x00", "aab\x00", "aabc",
	}
	if states != len(seen) || !slices.Equal(slices.Compact(seen), want) {
		t.Errorf("%q, want %q", seen, want)
	}
}
