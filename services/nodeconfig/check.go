package nodeconfig

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast/services/schema"
)

// expectation is what checks answer to a value that they refuse: what they
// expected, in words and, as far as it can be put so, as a schema.
type expectation struct {
	text   string
	schema schema.Schema
}

func (e *expectation) Error() string { return e.text }

func expected(what string) error { return &expectation{text: what} }

// expectedLike adds a pattern that every accepted string matches.
func expectedLike(what, pattern string) error {
	return &expectation{what, schema.Schema{Pattern: "^(?:" + pattern + ")$"}}
}

// Patterns of names.
const (
	labelPattern     = `[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?`
	subdomainPattern = labelPattern + `(?:\.` + labelPattern + `)*`
	valuePattern     = `[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?`
	keyPattern       = `(?:` + subdomainPattern + `/)?` + valuePattern
	hostPattern      = `_default|` + subdomainPattern + `(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\]:[0-9]+`
)

func oneOf(allowed ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		e := &expectation{text: "one of " + strings.Join(allowed, ", ")}
		if len(allowed) == 1 {
			e.text = allowed[0]
		}
		for _, a := range allowed {
			e.schema.Enum = append(e.schema.Enum, a)
		}
		return e
	}
}

// label accepts an RFC 1123 label.
func label(s string) error {
	if len(s) == 0 || len(s) > 63 || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) || !only(s, "-", false) {
		return expectedLike("a name of a-z, 0-9 and -, up to 63 characters", labelPattern)
	}
	return nil
}

// subdomain accepts an RFC 1123 subdomain: labels with dots between them.
func subdomain(s string) error {
	for l := range strings.SplitSeq(s, ".") {
		if len(s) > 253 || label(l) != nil {
			return expectedLike("a name of a-z, 0-9, - and dots, up to 253 characters", subdomainPattern)
		}
	}
	return nil
}

// hostname accepts what both the kernel and Kubernetes take as a node's name.
func hostname(s string) error {
	if len(s) > 63 || subdomain(s) != nil {
		return &expectation{"a host name of a-z, 0-9, - and dots, up to 63 characters",
			schema.Schema{Pattern: "^" + subdomainPattern + "$", MaxLength: 63}}
	}
	return nil
}

func domain(s string) error {
	if subdomain(s) != nil {
		return expectedLike("a domain such as example.org", subdomainPattern)
	}
	return nil
}

// qualifiedName accepts the key of a label or taint: [domain/]name.
func qualifiedName(s string) error {
	name := s
	if prefix, rest, ok := strings.Cut(s, "/"); ok {
		if subdomain(prefix) != nil {
			return expectedLike("a key such as example.org/name", keyPattern)
		}
		name = rest
	}
	if name == "" || labelValue(name) != nil {
		return expectedLike("a key such as example.org/name", keyPattern)
	}
	return nil
}

func labelValue(s string) error {
	if s == "" {
		return nil
	}
	first, last := s[0]|0x20, s[len(s)-1]|0x20
	if len(s) > 63 || !alphanumeric(first) || !alphanumeric(last) || !only(s, "-_.", true) {
		return expectedLike("a value of letters, digits, -, _ and dots, up to 63 characters", `(?:`+valuePattern+`)?`)
	}
	return nil
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// only reports whether s has nothing but letters, digits and extra characters.
func only(s, extra string, upper bool) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && !(upper && c >= 'A' && c <= 'Z') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// defaultRegistry is containerd's name for every registry without a mirror of its own.
const defaultRegistry = "_default"

// registryHost accepts host[:port]; it becomes the name of a directory.
func registryHost(s string) error {
	if s == defaultRegistry {
		return nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Port() > 0 && a.Addr().Zone() == "" {
		return nil
	}
	host, port, hasPort := strings.Cut(s, ":")
	n, err := strconv.Atoi(port)
	if subdomain(host) != nil || hasPort && (err != nil || !isDigits(port) || n < 1 || n > 65535) {
		return expectedLike("a host, with a port if need be, such as docker.io or registry.example.org:5000", hostPattern)
	}
	return nil
}

// bootstrapToken accepts Kubernetes' form: 6 characters, a dot, 16 characters.
func bootstrapToken(s string) error {
	id, secret, _ := strings.Cut(s, ".")
	if len(id) != 6 || len(secret) != 16 || !only(id+secret, "", false) {
		return expectedLike("a token of 6 characters, a dot and 16 characters, all a-z or 0-9", `[a-z0-9]{6}\.[a-z0-9]{16}`)
	}
	return nil
}

// units are the suffixes of Kubernetes quantities, in thousandths.
var units = []struct {
	suffix string
	milli  float64
}{
	{"m", 1},
	{"Ki", 1e3 * (1 << 10)}, {"Mi", 1e3 * (1 << 20)}, {"Gi", 1e3 * (1 << 30)}, {"Ti", 1e3 * (1 << 40)},
	{"k", 1e6}, {"M", 1e9}, {"G", 1e12}, {"T", 1e15},
	{"", 1e3},
}

// Amount is a valid quantity's value in thousandths; 0 for an empty one.
func Amount(s string) int64 {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok && u.suffix != "" || u.suffix == "" {
			f, err := strconv.ParseFloat(digits, 64)
			if err != nil || f < 0 || f*u.milli > 1<<62 {
				return 0
			}
			return int64(f * u.milli)
		}
	}
	return 0
}

// Patterns of quantities that are not 0.
const (
	suffixPattern = `(?:m|Ki|Mi|Gi|Ti|k|M|G|T)?`
	wholePattern  = `0*[1-9][0-9]*(?:Ki|Mi|Gi|Ti|k|M|G|T)?`
)

func quantity(s string) error {
	digits := strings.TrimRight(s, "mKMGTik")
	whole, fraction, dot := strings.Cut(digits, ".")
	if !isDigits(whole) || dot && !isDigits(fraction) || Amount(s) == 0 {
		return &expectation{"an amount above 0, such as 500m, 100Mi or 2Gi", schema.Schema{
			Pattern: `^(?:0*[1-9][0-9]*(?:\.[0-9]+)?` + suffixPattern + `|0+\.0*[1-9][0-9]*` + suffixPattern + `)$`, ExclusiveMinimum: new(int64),
		}}
	}
	return nil
}

func wholeQuantity(s string) error {
	if quantity(s) != nil || strings.Contains(s, ".") || strings.HasSuffix(s, "m") {
		return expectedLike("a whole amount above 0, such as 1000 or 10Mi", wholePattern)
	}
	return nil
}

// threshold accepts an amount or a percentage.
func threshold(signal, s string) error {
	percent, ok := strings.CutSuffix(s, "%")
	if f, err := strconv.ParseFloat(percent, 64); ok && isDigits(strings.Replace(percent, ".", "", 1)) && err == nil && f > 0 && f < 100 {
		return nil
	}
	if ok || wholeQuantity(s) != nil {
		return expectedLike("an amount such as 100Mi, or a percentage such as 10%", wholePattern+`|0*[0-9]{0,2}(?:\.[0-9]*)?%`)
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && len(s) <= 15 && strings.Trim(s, "0123456789") == ""
}
