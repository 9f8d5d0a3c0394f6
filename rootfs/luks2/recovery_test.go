package luks2

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestRecoveryKey(t *testing.T) {
	form := regexp.MustCompile(`^([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}$`)
	key := NewRecoveryKey()
	if !form.Match(key) || bytes.Equal(key, NewRecoveryKey()) {
		t.Errorf("%s", key)
	}
	for _, typed := range []string{
		string(key), strings.ToUpper(string(key)), strings.ReplaceAll(string(key), "-", ""), " " + strings.ReplaceAll(string(key), "-", "  ") + "\n",
	} {
		if got, err := ParseRecoveryKey([]byte(typed)); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%q: %q, %v, want %q", typed, got, err, key)
		}
	}
	digits := strings.Repeat("c", 64)
	for typed, want := range map[string]string{
		"":                       "parse recovery key: 0 characters, expected 64",
		digits[1:]:               "parse recovery key: 63 characters, expected 64",
		digits + "c":             "parse recovery key: more than 64 characters",
		"cc-a" + digits:          `parse recovery key: character 4 is none of "cbdefghijklnrtuv"`,
		digits[1:] + "\x03":      `parse recovery key: character 64 is none of`,
		digits[:40] + "é" + "cc": `parse recovery key: character 41 is none of`,
	} {
		if got, err := ParseRecoveryKey([]byte(typed)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, %v, want %s", typed, got, err, want)
		}
	}
}

func FuzzParseRecoveryKey(f *testing.F) {
	f.Add(NewRecoveryKey())
	f.Fuzz(func(t *testing.T, typed []byte) {
		key, err := ParseRecoveryKey(typed)
		if err != nil {
			return
		}
		if again, err := ParseRecoveryKey(key); err != nil || !bytes.Equal(key, again) {
			t.Errorf("%q came back as %q, %v", key, again, err)
		}
	})
}
