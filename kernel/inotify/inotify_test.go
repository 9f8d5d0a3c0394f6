package inotify

import (
	"os"
	"testing"
)

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	w, err := Directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	happened := make(chan error)
	go func() {
		for {
			err := w.Next()
			happened <- err
			if err != nil {
				return
			}
		}
	}()
	file := dir + "/file"
	for _, change := range []func() error{
		func() error { return os.WriteFile(file, []byte("x"), 0o644) },
		func() error { return os.Rename(file, file+"2") },
		func() error { return os.Remove(file + "2") },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := <-happened; err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		err = <-happened // events that came one by one
	}
	if _, err := Directory(dir + "/none"); err == nil {
		t.Error("a directory that is not there is watched")
	}
}
