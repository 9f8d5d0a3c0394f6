package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The completion scripts call the program as it is on the disk.
func TestCompletionInBash(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "holdfast")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bash := func(words string) string {
		// A stand-in for the package bash-completion, which need not be here.
		script := `source <(holdfast completion bash)
			line=(` + words + `)
			_get_comp_words_by_ref() {
				words=("${line[@]}"); cword=$((${#words[@]} - 1)); cur=${words[cword]}; prev=${words[cword-1]}
			}
			compopt() { :; } # works in a completion only
			COMP_TYPE=9
			__start_holdfast || true # what it returns means nothing
			printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.CommandContext(t.Context(), "bash", "-ec", script)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for words, want := range map[string]string{
		"holdfast p":                   "pki",
		"holdfast pki re":              "revoke",
		"holdfast pki issue --role ''": "operator",
		"holdfast --output y":          "yaml",
		"holdfast completion f":        "fish",
		"holdfast pki show --out":      "--output",
	} {
		if got := bash(words); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %s", words, got, want)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, errs bytes.Buffer
		p := program{out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
		if code := p.run(t.Context(), []string{"completion", shell}); code != done || !strings.Contains(out.String(), "holdfast") {
			t.Errorf("%s: code %d, %d bytes, %s", shell, code, out.Len(), &errs)
		}
	}
}
