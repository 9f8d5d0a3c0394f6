package services

import "testing"

func TestSpecsAreWhatPID1Takes(t *testing.T) {
	files, err := Specs()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all) {
		t.Errorf("%d files for %d services", len(files), len(all))
	}
}
