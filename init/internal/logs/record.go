package logs

import (
	"bytes"
	"strings"
	"time"
)

// Kind tells a record's meaning.
type Kind byte

const (
	Whole   Kind = ' '
	Piece   Kind = '+' // the line goes on in the next record
	Mark    Kind = '!' // PID 1 says it, not the service
	Foreign Kind = '?' // no record: what else a damaged file holds
)

// Line is one record, read.
type Line struct {
	At   time.Time // zero for a foreign one
	Kind Kind
	Text []byte
}

const (
	stampLayout = "2006-01-02T15:04:05.000Z"
	stampBytes  = len(stampLayout)
	headBytes   = stampBytes + 1
	lineBytes   = 4096 // of a service's line in one record
	recordBytes = headBytes + lineBytes + 1
)

func stamp(at time.Time) []byte {
	return at.UTC().AppendFormat(make([]byte, 0, stampBytes), stampLayout)
}

// appendRecord appends a record whose text is a and b together.
func appendRecord(to, stamp []byte, kind Kind, a, b []byte) []byte {
	to = append(append(to, stamp...), byte(kind))
	return append(append(append(to, a...), b...), '\n')
}

// parseLine reads one record, without its newline. Anything is a line.
func parseLine(b []byte) Line {
	foreign := Line{Kind: Foreign, Text: b}
	if len(b) < headBytes {
		return foreign
	}
	switch Kind(b[stampBytes]) {
	case Whole, Piece, Mark:
	default:
		return foreign
	}
	at, err := time.Parse(stampLayout, string(b[:stampBytes]))
	if err != nil {
		return foreign
	}
	return Line{at, Kind(b[stampBytes]), b[headBytes:]}
}

// parseLines reads complete records and returns what is left of the last one.
func parseLines(b []byte) (lines []Line, rest []byte) {
	for {
		line, after, ok := bytes.Cut(b, []byte{'\n'})
		if !ok {
			return lines, b
		}
		lines, b = append(lines, parseLine(line)), after
	}
}

// String renders a line for a console: nothing in it controls a terminal.
func (l Line) String() string {
	text := Printable(string(l.Text))
	if l.Kind == Mark {
		return "[" + text + "]"
	}
	return text
}

// Printable replaces what is not text: control characters and broken UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
