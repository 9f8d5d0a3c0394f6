// Package kmsg writes lines to the kernel log, where they reach every console and survive to pstore.
package kmsg

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// Priority is a syslog severity (RFC 5424, table 2).
type Priority int

const (
	Emerg   Priority = 0
	Err     Priority = 3
	Warning Priority = 4
	Info    Priority = 6
)

// facilityDaemon is syslog's facility 3, shifted as in a priority prefix.
const facilityDaemon = 3 << 3

// maxLine keeps a record within the kernel's limit (LOG_LINE_MAX is 1024 less
// the prefix); a longer write fails whole with EINVAL.
const maxLine = 960

// Log is an open /dev/kmsg.
type Log struct{ f *os.File }

// Open opens /dev/kmsg for writing.
func Open() (*Log, error) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &Log{f}, nil
}

// Write logs one record for each line of text. A nil Log drops it.
func (l *Log) Write(p Priority, text string) error {
	if l == nil {
		return nil
	}
	for _, line := range Records(p, text) {
		if _, err := l.f.WriteString(line); err != nil {
			return fmt.Errorf("write /dev/kmsg: %w", err)
		}
	}
	return nil
}

// Records renders text as records of /dev/kmsg: one a line, each within the
// kernel's limit. A longer line is split between characters; what goes on
// begins with "… ".
func Records(p Priority, text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		for len(line) > maxLine {
			n := splitAt(line)
			out = append(out, fmt.Sprintf("<%d>%s\n", facilityDaemon|int(p), line[:n]))
			line = "… " + line[n:]
		}
		out = append(out, fmt.Sprintf("<%d>%s\n", facilityDaemon|int(p), line))
	}
	return out
}

// splitAt is where a long line is split: after its last character that fits.
// What is not UTF-8 is split anywhere.
func splitAt(line string) int {
	for n := maxLine; n > maxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return maxLine
}
