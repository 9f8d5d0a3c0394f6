package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsageOfAGroupThatIsGoneIsZero(t *testing.T) {
	if u, err := Read("/no/such/group"); err != nil || u != (Usage{}) {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestNumber(t *testing.T) {
	g := Group{t.TempDir()}
	for text, want := range map[string]int64{"4096\n": 4096, "0\n": 0, "9223372036854775807\n": 1<<63 - 1} {
		if err := os.WriteFile(filepath.Join(g.dir, "memory.current"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := g.number("memory.current"); err != nil || n != want {
			t.Errorf("%q is %d, %v", text, n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(g.dir, "memory.current"), []byte("max\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.number("memory.current"); err == nil || !strings.Contains(err.Error(), "memory.current") {
		t.Errorf("what is no number: %v", err)
	}
}
