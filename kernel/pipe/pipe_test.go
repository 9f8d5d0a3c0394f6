package pipe

import (
	"os"
	"testing"
	"time"
)

func TestGrownPipeTakesMoreWithoutAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := Grow(r, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := Grow(r, 4096); err != nil { // never smaller
		t.Fatal(err)
	}
	w.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if n, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Errorf("took %d bytes: %v", n, err)
	}
}

func TestOnlyPipesGrow(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Grow(f, 1<<20); err == nil {
		t.Error("/dev/null has grown")
	}
}
