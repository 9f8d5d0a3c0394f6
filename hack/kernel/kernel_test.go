package kernel

import (
	"maps"
	"os"
	"testing"

	"holdfast/kernel/config"
)

// TestRequestedOptionsSurvive merges each series' configuration and compares it with what the fragments ask for.
func TestRequestedOptionsSurvive(t *testing.T) {
	for _, s := range config.All() {
		t.Run(s.Name, func(t *testing.T) {
			requested, result, err := Merge(t.Context(), s.Name)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range requested {
				got, ok := result[name]
				if !ok {
					got = "n" // an option whose dependencies are not met is not written at all
				}
				if got != want {
					t.Errorf("CONFIG_%s=%s was requested, got %s", name, want, got)
				}
			}
			if result["MODULES"] == "y" {
				t.Error("modules are on")
			}
		})
	}
}

// mostImageBytes is what the boot image's budget leaves for the kernel.
const mostImageBytes = 10_000_000

// TestBuild builds the default series when the cache has no kernel of it, which takes some 25 minutes of processor time.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a kernel")
	}
	k, err := Build(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if want := config.All()[0].Upstream() + "-holdfast"; k.Version != want {
		t.Errorf("version %q, want %q", k.Version, want)
	}
	info, err := os.Stat(k.Image)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostImageBytes {
		t.Errorf("image has %d bytes, want at most %d", info.Size(), mostImageBytes)
	}
	text, err := os.ReadFile(k.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, merged, err := Merge(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if built, err := config.Parse(text); err != nil || !maps.Equal(built, merged) {
		t.Errorf("the kernel was built with another configuration than the merged one (%v)", err)
	}
}
