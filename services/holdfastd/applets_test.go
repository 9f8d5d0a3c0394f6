package main

import (
	"context"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"netd", "more"}} {
		var out strings.Builder
		if code := run(context.Background(), args, &out); code != 2 || !strings.Contains(out.String(), "apid|config|netd|timed") {
			t.Errorf("%q: exit code %d, %q", args, code, out.String())
		}
	}
}
