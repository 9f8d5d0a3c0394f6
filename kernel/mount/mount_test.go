package mount

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = "22 1 254:0 / / ro,relatime - erofs /dev/mapper/root ro\n" +
		"30 22 0:25 / /var/lib/a\\040b rw,nosuid shared:3 master:1 - ext4 /dev/vda6 rw,seclabel\n"
	got, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Info{
		{22, 1, 254, 0, "/", "ro,relatime", "erofs", "/dev/mapper/root"},
		{30, 22, 0, 25, "/var/lib/a b", "rw,nosuid", "ext4", "/dev/vda6"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d mounts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("mount %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"", "1 2 3", "1 2 x / / ro - ext4 a", "1 2 8:1 / / ro ext4 a"} {
		if _, err := Parse(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%q was taken for a mountinfo line", line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("22 1 254:0 / / ro,relatime - erofs /dev/mapper/root ro\n")
	f.Add(`1 2 3:4 \04 \0 x - a \777`)
	f.Fuzz(func(t *testing.T, s string) { _, _ = Parse(strings.NewReader(s)) })
}

func TestListThisProcess(t *testing.T) {
	l, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l {
		if m.Target == "/" {
			return
		}
	}
	t.Error("no mount at /")
}
