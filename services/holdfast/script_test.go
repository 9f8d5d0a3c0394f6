package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

// TestScripts runs the scripts in testdata. A line is
//
//	$ COMMAND    holdfast ARGS [< FILE], or one of the tools below
//	> TEXT       what it prints
//	! TEXT       what it prints as an error
//	? CODE       its exit code when that is not 0
//	# TEXT       a remark
//
// Files follow, each after a line "-- NAME --". The clock stands still but
// for the tool clock. What is random is replaced by a word.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(data))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("%s differs; got:\n%s", file, got)
			}
		})
	}
}

// player runs one script in a directory of its own.
type player struct {
	t    *testing.T
	work string
	env  map[string]string
	now  time.Time
}

func play(t *testing.T, script string) string {
	p := player{
		t: t, work: t.TempDir(),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	p.env = map[string]string{"HOME": p.work}
	t.Chdir(p.work)
	commands, files, more := strings.Cut(script, "\n-- ")
	rest := ""
	if more {
		commands += "\n"
		rest = "-- " + files
	}
	for files != "" {
		var file, name, body string
		file, files, _ = strings.Cut(files, "\n-- ")
		name, body, _ = strings.Cut(file, " --\n")
		if err := os.WriteFile(name, []byte(body+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for line := range strings.Lines(commands) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			fmt.Fprintln(&b, line)
			p.command(&b, command)
		} else if line == "" || line[0] == '#' {
			fmt.Fprintln(&b, line)
		} else if !strings.Contains(">!?", line[:1]) {
			t.Fatalf("script has the line %q", line)
		}
	}
	return b.String() + rest
}

func (p *player) command(w io.Writer, line string) {
	var out, errs bytes.Buffer
	words := strings.Fields(line)
	code := 0
	if words[0] == "holdfast" {
		code = p.holdfast(words[1:], &out, &errs)
	} else if err := p.tool(words, &out); err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	p.quote(w, ">", out.String())
	p.quote(w, "!", errs.String())
	if code != 0 {
		fmt.Fprintln(w, "?", code)
	}
}

func (p *player) holdfast(args []string, out, errs io.Writer) int {
	in := ""
	for i, a := range args {
		args[i] = strings.Trim(a, "'")
		if a == "<" {
			data, err := os.ReadFile(args[i+1])
			if err != nil {
				p.t.Fatal(err)
			}
			in, args = string(data), args[:i]
			break
		}
	}
	run := program{
		in: strings.NewReader(in), out: out, err: errs,
		env: func(s string) string { return p.env[s] },
		now: func() time.Time { return p.now },
	}
	return run.run(p.t.Context(), args)
}

// tool is what scripts need beside the command itself.
func (p *player) tool(words []string, out io.Writer) error {
	switch words[0] {
	case "clock": // clock +DURATION
		d, err := time.ParseDuration(words[1])
		p.now = p.now.Add(d)
		return err
	case "env": // env NAME=VALUE
		name, value, _ := strings.Cut(words[1], "=")
		p.env[name] = value
	case "cat", "head": // head shows the first line
		data, err := os.ReadFile(words[1])
		if words[0] == "head" {
			data, _, _ = bytes.Cut(data, []byte("\n"))
		}
		out.Write(data)
		return err
	case "mode":
		st, err := os.Stat(words[1])
		if err == nil {
			fmt.Fprintln(out, st.Mode())
		}
		return err
	case "chmod": // chmod MODE FILE
		mode, err := strconv.ParseUint(words[1], 8, 32)
		if err != nil {
			return err
		}
		return os.Chmod(words[2], os.FileMode(mode))
	case "cp":
		data, err := os.ReadFile(words[1])
		if err != nil {
			return err
		}
		return os.WriteFile(words[2], data, 0o600)
	default:
		return fmt.Errorf("unknown tool")
	}
	return nil
}

// random is what differs from run to run, and the word for it.
var random = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "SERIAL"},
	{regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`), "FINGERPRINT"},
	{regexp.MustCompile(`(?m)^( *)[A-Za-z0-9+/]{40,64}\n( *[A-Za-z0-9+/=]{1,64}\n)*`), "${1}BASE64\n"},
}

func (p *player) quote(w io.Writer, mark, text string) {
	text = strings.ReplaceAll(text, p.work, "WORK")
	for _, r := range random {
		text = r.pattern.ReplaceAllString(text, r.word)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		fmt.Fprintln(w, strings.TrimRight(mark+" "+line, " "))
	}
}
