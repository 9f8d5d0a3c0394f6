package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/services/nodeconfig"
)

func output(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
	if code := p.run(t.Context(), args); code != done || errs.Len() > 0 {
		t.Fatalf("holdfast %q: code %d, %s", args, code, &errs)
	}
	return out.String()
}

func TestConfigTexts(t *testing.T) {
	if text := output(t, "config", "example"); text != nodeconfig.Example {
		t.Errorf("example is %q", text)
	}
	if text := output(t, "config", "reference"); text != nodeconfig.Reference() {
		t.Errorf("reference is %q", text)
	}
	var schema map[string]any
	if err := json.Unmarshal([]byte(output(t, "config", "schema")), &schema); err != nil || schema["title"] != "NodeConfig" {
		t.Errorf("schema: %v, title %v", err, schema["title"])
	}
}

// The command's answers are the node's, to the letter.
func TestValidateSaysWhatTheNodeSays(t *testing.T) {
	for _, name := range []string{"full", "network", "kubelet", "pods"} {
		file := "../nodeconfig/testdata/" + name + ".yaml"
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, faults := nodeconfig.Parse(data, file)
		want := ""
		for _, f := range faults {
			want += f.String() + "\n"
		}
		code := failed
		if want == "" {
			want, code = file+": valid\n", done
		}
		var out, errs bytes.Buffer
		p := program{out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
		if got := p.run(t.Context(), []string{"config", "validate", file}); got != code || out.String() != want || errs.Len() > 0 {
			t.Errorf("%s: code %d, %s%s", file, got, &out, &errs)
		}
	}
}
