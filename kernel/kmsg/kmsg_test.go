package kmsg

import (
	"strings"
	"testing"
)

func TestRecords(t *testing.T) {
	got := Records(Err, "one\ntwo\n"+strings.Repeat("x", maxLine+1))
	want := []string{"<27>one\n", "<27>two\n", "<27>" + strings.Repeat("x", maxLine) + "\n", "<27>x\n"}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("record %d: got %q, want %q", i, got[i], want[i])
		}
	}
}
