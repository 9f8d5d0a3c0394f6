package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestKeyFraming(t *testing.T) {
	lists := [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"a", "b", ""}, {"b", "a"}}
	seen := map[string]int{}
	for i, parts := range lists {
		k := Key(parts...)
		if len(k) != 64 {
			t.Errorf("Key(%q) = %q, want 64 hex digits", parts, k)
		}
		if j, ok := seen[k]; ok {
			t.Errorf("Key(%q) equals Key(%q)", parts, lists[j])
		}
		seen[k] = i
	}
}

func TestFileKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	os.WriteFile(path, []byte("abc"), 0o644)
	got, err := FileKey(path)
	want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4's example
	if err != nil || got != want {
		t.Errorf("FileKey = %q, %v; want %q", got, err, want)
	}
}

func TestGetBuildsOnceConcurrently(t *testing.T) {
	t.Setenv("HOLDFAST_CACHE", t.TempDir())
	var builds atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dir, err := Get(t.Context(), "k", "a", func(_ context.Context, dir string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "x"), []byte("1"), 0o644)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times, want 1", builds.Load())
	}
}

func TestGetLeavesNothingOfAFailedBuild(t *testing.T) {
	root := t.TempDir()
	t.Setenv("HOLDFAST_CACHE", root)
	leftover := filepath.Join(root, "k", "a.tmp-1", "half")
	if err := os.MkdirAll(leftover, 0o755); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	_, err := Get(t.Context(), "k", "a", func(_ context.Context, dir string) error {
		os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("Get = %v, want boom", err)
	}
	for _, pattern := range []string{"a", "a.tmp-*"} {
		if left, _ := filepath.Glob(filepath.Join(root, "k", pattern)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestGetStopsWaitingWithItsContext(t *testing.T) {
	t.Setenv("HOLDFAST_CACHE", t.TempDir())
	_, err := Get(t.Context(), "k", "a", func(ctx context.Context, _ string) error {
		waiter, cancel := context.WithTimeout(ctx, 3*lockPoll)
		defer cancel()
		began := time.Now()
		_, err := Get(waiter, "k", "a", func(context.Context, string) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Errorf("second Get = %v after %v, want deadline exceeded", err, time.Since(began))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestGetRefusesPaths(t *testing.T) {
	t.Setenv("HOLDFAST_CACHE", t.TempDir())
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := Get(t.Context(), "k", name, nil); err == nil {
			t.Errorf("Get(%q) succeeded", name)
		}
		if _, err := Get(t.Context(), name, "k", nil); err == nil {
			t.Errorf("Get of kind %q succeeded", name)
		}
	}
}
