package bed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/rootfs/gpt"
	"holdfast/rootfs/slot"
	"holdfast/tests/bed/wire"
)

// Event is one line of the journal.
type Event struct {
	At   time.Duration // since boot
	Name string        // of the service
	What string        // start, ready, term, end, and what an actor notes besides
}

// Journal reads what the actors have noted so far.
func (b *Bed) Journal() []Event {
	b.t.Helper()
	return events(b.t, b.Read(wire.Journal))
}

func events(t testing.TB, text string) (all []Event) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e Event
		if _, err := fmt.Sscan(line, (*int64)(&e.At), &e.Name, &e.What); err != nil {
			t.Fatalf("journal line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// State is the state volume of a machine that has ended, taken out of its disk.
type State struct {
	t    testing.TB
	file string
}

// State takes the state volume out of the disk of a machine that has ended.
func (b *Bed) State() *State {
	b.t.Helper()
	s := &State{b.t, filepath.Join(b.t.TempDir(), "state")}
	if err := extract(b.Disk(), slot.StateLabel, s.file); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func extract(disk, name, to string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	table, err := gpt.Read(f, st.Size(), sectorSize)
	if err != nil {
		return err
	}
	e := table.ByName(name)
	if e == nil {
		return fmt.Errorf("no partition %q", name)
	}
	out, err := exec.Command("dd", "if="+disk, "of="+to, "bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes",
		fmt.Sprintf("skip=%d", e.FirstLBA*sectorSize), fmt.Sprintf("count=%d", e.Sectors()*sectorSize)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dd: %w: %s", err, out)
	}
	return nil
}

// Clean takes e2fsck as the judge of the file system. With -n it looks past
// the journal: that this was written out is a feature flag's absence.
func (s *State) Clean() {
	s.t.Helper()
	if out, err := exec.Command("e2fsck", "-fn", s.file).CombinedOutput(); err != nil {
		s.t.Errorf("the state file system is not clean: %v\n%s", err, out)
	}
	out, err := exec.Command("dumpe2fs", "-h", s.file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "needs_recovery") || !strings.Contains(string(out), "has_journal") {
		s.t.Errorf("the state file system was not let go of: %v\n%s", err, out)
	}
}

// Journal reads the journal on the volume.
func (s *State) Journal() []Event {
	s.t.Helper()
	return events(s.t, s.Read(strings.TrimPrefix(wire.Journal, "/var")))
}

// Read reads a file of the volume with debugfs; its path is that on the volume.
func (s *State) Read(path string) string {
	s.t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+path, s.file).Output()
	if err != nil {
		s.t.Fatalf("debugfs: %v", err)
	}
	return string(out)
}
