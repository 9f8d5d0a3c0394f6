package config

import (
	"maps"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte("# a comment\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\nCONFIG_D=n\nCONFIG_E=12\n"))
	want := map[string]string{"A": "y", "B": "n", "C": `"x y"`, "D": "n", "E": "12"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("Parse = %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"CONFIG_A=y\nCONFIG_A=n\n", "CONFIG_A=y\n# CONFIG_A is not set\n", "A=y\n", "CONFIG_A\n", "CONFIG_A=\n"} {
		if got, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, got)
		}
	}
}

// TestFragments fails on a fragment that no series uses, a missing one, and an option that two fragments give.
func TestFragments(t *testing.T) {
	used := map[string]bool{}
	for _, s := range All() {
		text, err := s.Text()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("series %s: %v", s.Name, err)
		}
		for _, name := range s.Fragments {
			used[name] = true
		}
	}
	entries, err := fragments.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("%s belongs to no series", e.Name())
		}
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{"": "6.18.15", "6.18": "6.18.15", "6.12": "6.12.107"} {
		if s, err := Find(name); err != nil || s.Upstream() != want {
			t.Errorf("Find(%q) = %q, %v; want %q", name, s.Upstream(), err, want)
		}
	}
	if _, err := Find("5.10"); err == nil {
		t.Error("Find accepted an unknown series")
	}
}
