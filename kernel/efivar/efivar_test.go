package efivar

import "testing"

func TestDecode(t *testing.T) {
	for in, want := range map[string]string{
		"1\x002\x003\x00\x00\x00": "123",
		"":                        "",
		"a":                       "",
		"\xe9\x00":                "é",
	} {
		if got := decode([]byte(in)); got != want {
			t.Errorf("decode(%q) = %q, want %q", in, got, want)
		}
	}
}
