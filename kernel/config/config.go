// Package config holds the kernel's configuration fragments and names the pinned sources they are for.
package config

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed *.config
var fragments embed.FS

// Series is one long-term kernel: where its source comes from and which fragments make its configuration.
type Series struct {
	Name      string   // "6.18"
	Suite     string   // the Debian suite whose source package carries it
	Version   string   // of that source package
	SHA256    string   // of its upstream tarball
	Fragments []string // file names, in the order of merging
}

// Upstream returns the kernel's own version, "6.18.15".
func (s Series) Upstream() string {
	v, _, _ := strings.Cut(s.Version, "-")
	return v
}

// All returns the series that can be built, the default first.
func All() []Series {
	return []Series{
		{
			Name:      "6.18",
			Suite:     "trixie-backports",
			Version:   "6.18.15-1~bpo13+1",
			SHA256:    "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca",
			Fragments: []string{"base.config", "virt.config", "hyperv.config", "container.config", "security.config", "6.18.config"},
		},
		{
			Name:      "6.12",
			Suite:     "trixie",
			Version:   "6.12.107-1",
			SHA256:    "efc76d3c78a5d65f42724118c437d11db1c9f6309a5f024ee9a8b1978fdc6919",
			Fragments: []string{"base.config", "virt.config", "hyperv.config", "container.config", "security.config", "6.12.config"},
		},
	}
}

// Find returns the series called name; "" is the default.
func Find(name string) (Series, error) {
	var names []string
	for _, s := range All() {
		if s.Name == name || name == "" {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Series{}, fmt.Errorf("kernel series %q: want one of %s", name, strings.Join(names, ", "))
}

// Text returns the series' fragments, one after the other.
func (s Series) Text() ([]byte, error) {
	var text []byte
	for _, name := range s.Fragments {
		data, err := fragments.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text = append(text, data...)
	}
	return text, nil
}

// Options returns what the series' fragments request, as Parse does.
func (s Series) Options() (map[string]string, error) {
	text, err := s.Text()
	if err != nil {
		return nil, err
	}
	options, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("fragments of %s: %w", s.Name, err)
	}
	return options, nil
}

var option = regexp.MustCompile(`^CONFIG_([A-Za-z0-9_]+)=(.+)$|^# CONFIG_([A-Za-z0-9_]+) is not set$`)

// Parse reads a fragment or a whole .config: option names without CONFIG_, values as written ("y", "12", `"text"`), and
// "n" for one that is not set. An option given twice and a line that is neither option nor comment are errors.
func Parse(text []byte) (map[string]string, error) {
	options := map[string]string{}
	s := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; s.Scan(); n++ {
		m := option.FindStringSubmatch(s.Text())
		if m == nil {
			if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
				return nil, fmt.Errorf("line %d: %q: want CONFIG_NAME=value or a comment", n, line)
			}
			continue
		}
		name, value := m[1], m[2]
		if m[3] != "" {
			name, value = m[3], "n"
		}
		if _, ok := options[name]; ok {
			return nil, fmt.Errorf("line %d: CONFIG_%s is given twice", n, name)
		}
		options[name] = value
	}
	return options, s.Err()
}
