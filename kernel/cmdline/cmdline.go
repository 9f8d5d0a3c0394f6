// Package cmdline parses and renders the kernel command line as the kernel itself does.
//
// The rules are those of next_arg in the kernel's lib/cmdline.c, see also
// Documentation/admin-guide/kernel-parameters.rst:
//
//	key            a flag
//	key=value      a value ends at white space
//	key="a b"      quotes protect white space; a leading and a trailing one are dropped
//	"key=a b"      the same
//	--             ends the kernel's arguments; what follows is for init
//
// In keys, '-' and '_' are the same. There is no way to escape a quote.
//
// # Decisions
//
// A quote that is never closed is an error here, where the kernel takes all the
// rest of the line as one argument: nobody means that, and what is refused
// cannot be read in two ways.
package cmdline

import (
	"fmt"
	"strings"
)

// MaxSize is the longest command line in bytes: COMMAND_LINE_SIZE of x86
// without the final NUL.
const MaxSize = 2047

// Arg is one argument. A flag has no value, which differs from an empty one.
type Arg struct {
	Key      string
	Value    string
	HasValue bool
}

// Line is a parsed command line.
type Line struct {
	Args []Arg
	Init string // what stands after "--", unparsed
}

// Parse reads a command line, such as the content of /proc/cmdline.
func Parse(s string) (Line, error) {
	if s = strings.TrimSuffix(s, "\n"); len(s) > MaxSize {
		return Line{}, fmt.Errorf("parse command line: %d bytes, at most %d allowed", len(s), MaxSize)
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return Line{}, fmt.Errorf("parse command line: NUL at byte %d", i)
	}
	var l Line
	for rest := skipSpace(s); rest != ""; {
		arg, next, ok := nextArg(rest)
		if !ok {
			return Line{}, fmt.Errorf("parse command line: quote not closed in the argument at byte %d", len(s)-len(rest))
		}
		if rest = next; arg == (Arg{Key: "--"}) {
			l.Init = rest
			break
		}
		l.Args = append(l.Args, arg)
	}
	return l, nil
}

// Get returns the value of the last argument with that key, "" for a flag.
func (l Line) Get(key string) (value string, ok bool) {
	for i := len(l.Args) - 1; i >= 0; i-- {
		if sameKey(l.Args[i].Key, key) {
			return l.Args[i].Value, true
		}
	}
	return "", false
}

// Has reports whether an argument has that key, with a value or as a flag.
func (l Line) Has(key string) bool {
	_, ok := l.Get(key)
	return ok
}

// String renders the line so that Parse returns an equal one. An argument that
// the kernel's syntax cannot express, such as a value with an unpaired quote,
// is rendered as it is; it cannot come from Parse.
func (l Line) String() string {
	words := make([]string, 0, len(l.Args)+2)
	for _, a := range l.Args {
		words = append(words, a.String())
	}
	if l.Init != "" {
		words = append(words, "--", l.Init)
	}
	return strings.Join(words, " ")
}

// String renders one argument with as few quotes as it needs.
func (a Arg) String() string {
	// Where quotes may stand: before the key, before the value, at the end.
	for _, q := range [][3]string{
		{"", "", ""},
		{"", `"`, ""}, {"", "", `"`}, {`"`, "", ""},
		{"", `"`, `"`}, {`"`, "", `"`}, {`"`, `"`, ""},
		{`"`, `"`, `"`},
	} {
		s := a.quoted(q)
		if back, rest, ok := nextArg(s); ok && rest == "" && back == a && s != "" && s == skipSpace(s) {
			return s
		}
	}
	return a.quoted([3]string{})
}

func (a Arg) quoted(q [3]string) string {
	if !a.HasValue {
		return q[0] + a.Key + q[2]
	}
	return q[0] + a.Key + "=" + q[1] + a.Value + q[2]
}

// nextArg cuts the first argument off s, which starts with no white space, and
// skips the white space after it. It is false if a quote is never closed.
func nextArg(s string) (arg Arg, rest string, ok bool) {
	quoted := strings.HasPrefix(s, `"`)
	if quoted {
		s = s[1:]
	}
	end, equals, inQuote := 0, 0, quoted
	for ; end < len(s) && (inQuote || !isSpace(s[end])); end++ {
		switch {
		case s[end] == '=' && equals == 0: // a leading '=' belongs to the key
			equals = end
		case s[end] == '"':
			inQuote = !inQuote
		}
	}
	word, rest := s[:end], skipSpace(s[end:])
	if equals == 0 {
		if quoted {
			word = strings.TrimSuffix(word, `"`)
		}
		return Arg{Key: word}, rest, !inQuote
	}
	value := word[equals+1:]
	inner, quotedValue := strings.CutPrefix(value, `"`)
	if quoted || quotedValue {
		value = strings.TrimSuffix(inner, `"`)
	}
	return Arg{word[:equals], value, true}, rest, !inQuote
}

// isSpace is the kernel's isspace, which knows Latin-1's no-break space.
func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0
}

func skipSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

func sameKey(a, b string) bool {
	dash := strings.NewReplacer("-", "_")
	return dash.Replace(a) == dash.Replace(b)
}
