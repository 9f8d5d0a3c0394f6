package cmdline

import (
	"reflect"
	"strings"
	"testing"
)

func flag(key string) Arg         { return Arg{Key: key} }
func param(key, value string) Arg { return Arg{key, value, true} }

func TestParse(t *testing.T) {
	tests := []struct {
		name, in, out string // out: canonical form, "" when equal to in
		want          Line
	}{
		{name: "empty", in: ""},
		{name: "only space", in: " \t\n", out: " "},
		{name: "node", in: "roothash=ab holdfast.posture=enforce console=ttyS0 panic=10 ro",
			want: Line{Args: []Arg{param("roothash", "ab"), param("holdfast.posture", "enforce"), param("console", "ttyS0"), param("panic", "10"), flag("ro")}}},
		{name: "white space", in: "  a\t b=1 \v c\xa0d\n", out: "a b=1 c d",
			want: Line{Args: []Arg{flag("a"), param("b", "1"), flag("c"), flag("d")}}},
		{name: "quoted value", in: `dyndbg="file a.c +p" x`, want: Line{Args: []Arg{param("dyndbg", "file a.c +p"), flag("x")}}},
		{name: "quoted argument", in: `"dyndbg=file a.c +p" x`, out: `dyndbg="file a.c +p" x`,
			want: Line{Args: []Arg{param("dyndbg", "file a.c +p"), flag("x")}}},
		{name: "quoted for nothing", in: `a="b"`, out: "a=b", want: Line{Args: []Arg{param("a", "b")}}},
		{name: "quoted in the middle", in: `a=b" "c`, want: Line{Args: []Arg{param("a", `b" "c`)}}},
		{name: "quoted flag", in: `"a b"`, want: Line{Args: []Arg{flag("a b")}}},
		{name: "empty value", in: "a=", want: Line{Args: []Arg{param("a", "")}}},
		{name: "empty argument", in: `""`, want: Line{Args: []Arg{flag("")}}},
		{name: "second equals sign", in: "a=b=c", want: Line{Args: []Arg{param("a", "b=c")}}},
		{name: "leading equals sign", in: "=a", want: Line{Args: []Arg{flag("=a")}}},
		{name: "init", in: `a -- b "c d" --`, want: Line{Args: []Arg{flag("a")}, Init: `b "c d" --`}},
		{name: "init without arguments", in: "a --", out: "a", want: Line{Args: []Arg{flag("a")}}},
		{name: "not the end", in: "--=1 ---", want: Line{Args: []Arg{param("--", "1"), flag("---")}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("Parse(%q) = %+v, %v, want %+v", tt.in, got, err, tt.want)
			}
			out := tt.out
			if out == "" {
				out = tt.in
			}
			if got.String() != strings.TrimSpace(out) {
				t.Errorf("String() = %q, want %q", got.String(), out)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"too long", strings.Repeat("a", MaxSize+1), "parse command line: 2048 bytes, at most 2047 allowed"},
		{"quote not closed", `a b="c d`, "parse command line: quote not closed in the argument at byte 2"},
		{"NUL", "a\x00b", "parse command line: NUL at byte 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.in); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := Parse(strings.Repeat("a", MaxSize) + "\n"); err != nil {
		t.Errorf("longest line: %v", err)
	}
}

func TestGet(t *testing.T) {
	l, err := Parse("quiet console=tty0 log-level=3 console=ttyS0 -- init=/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		key, value string
		ok         bool
	}{
		{"console", "ttyS0", true}, // the last one wins
		{"quiet", "", true},
		{"log_level", "3", true},
		{"init", "", false}, // behind "--"
		{"con", "", false},
	}
	for _, tt := range tests {
		value, ok := l.Get(tt.key)
		if value != tt.value || ok != tt.ok || l.Has(tt.key) != tt.ok {
			t.Errorf("Get(%s) = %q, %v, want %q, %v", tt.key, value, ok, tt.value, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "a", "a=b c", `a="b c" "d=e f"`, `"a="b"c d"`, `a=b"c d"e`, "=a=b", `""`, "a -- b", "--", "a\xa0b", `a="b"c`, "caf\u00e0",
		"roothash=0123 holdfast.posture=enforce console=ttyS0 panic=10",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(l.String())
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Errorf("%q\nparsed   %+v\nrendered %q\nparsed   %+v, %v", s, l, l.String(), again, err)
		}
	})
}
