package floor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var built = time.Date(2026, 11, 24, 21, 25, 57, 0, time.UTC)

func TestBuilt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "build-time")
	for text, ok := range map[string]bool{
		string(FormatBuild(built.Local())): true,
		"2026-11-24T21:25:57Z":             true,
		"":                                 false,
		"2026-11-24":                       false,
		"1764019557\n":                     false,
		"2026-11-24T21:25:57Z\nmore\n":     false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Built(path)
		if ok && (err != nil || !got.Equal(built)) || !ok && err == nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := Built(path + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestBelievable(t *testing.T) {
	for now, want := range map[time.Time]bool{
		built: true, built.Add(-1): false, built.Add(9 * 365 * 24 * time.Hour): true, time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC): false,
	} {
		if got := Believable(now, built); got != want {
			t.Errorf("%s: %v, want %v", now, got, want)
		}
	}
}

func TestLast(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "last")
	if got, err := Last(path, built); err != nil || !got.IsZero() {
		t.Errorf("without a file: %v, %v", got, err)
	}
	for _, at := range []time.Time{built.Add(-time.Hour), built, built.Add(time.Hour), built.Add(9 * 365 * 24 * time.Hour)} {
		if err := Keep(path, at); err != nil {
			t.Fatal(err)
		}
		if got, err := Last(path, built); err != nil || !got.Equal(at) {
			t.Errorf("kept %v: %v, %v", at, got, err)
		}
	}
	if err := Keep(path, built.Add(30*365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := Last(path, built); err == nil || !strings.Contains(err.Error(), "2056") {
		t.Errorf("30 years on: %v, %v", got, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Last(link, built); err == nil {
		t.Error("a symbolic link was followed")
	}
	if err := Keep(filepath.Join(dir, "no", "last"), built); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
