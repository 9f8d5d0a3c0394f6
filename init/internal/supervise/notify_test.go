package supervise

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestParseMessage(t *testing.T) {
	m := parseMessage([]byte("READY=1\nSTATUS=a=b \x1b[31mred\nX_FAULT=one\nX_FAULT=two\nWATCHDOG=1\nUNKNOWN=x\nrubbish"))
	if !m.ready || !m.alive || m.status != "a=b \uFFFD[31mred" || !slices.Equal(m.faults, []string{"one", "two"}) {
		t.Errorf("%+v", m)
	}
	if m := parseMessage([]byte("READY=0\nWATCHDOG=trigger\nSTATUS=")); m.ready || m.alive || m.status != "" {
		t.Errorf("%+v", m)
	}
}

// FuzzParseMessage: whatever a service sends, what is shown of it is one line
// of text, and no more than it sent.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=fine\nX_FAULT=x"))
	f.Add([]byte("STATUS=\xff\x00\r\x1b]0;title\x07"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parseMessage(b)
		if len(m.faults) > maxFaults {
			t.Errorf("%d faults in one message", len(m.faults))
		}
		for _, text := range append(m.faults, m.status) {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
				t.Errorf("%q is not text", text)
			}
		}
	})
}
