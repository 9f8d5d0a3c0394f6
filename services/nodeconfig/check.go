package nodeconfig

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Checks say in their error what was expected.

func expected(what string) error { return errors.New(what) }

func oneOf(allowed ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		if len(allowed) == 1 {
			return expected(allowed[0])
		}
		return expected("one of " + strings.Join(allowed, ", "))
	}
}

// label accepts an RFC 1123 label.
func label(s string) error {
	if len(s) == 0 || len(s) > 63 || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) || !only(s, "-", false) {
		return expected("a name of a-z, 0-9 and -, up to 63 characters")
	}
	return nil
}

// subdomain accepts an RFC 1123 subdomain: labels with dots between them.
func subdomain(s string) error {
	for l := range strings.SplitSeq(s, ".") {
		if len(s) > 253 || label(l) != nil {
			return expected("a name of a-z, 0-9, - and dots, up to 253 characters")
		}
	}
	return nil
}

// hostname accepts what both the kernel and Kubernetes take as a node's name.
func hostname(s string) error {
	if len(s) > 63 || subdomain(s) != nil {
		return expected("a host name of a-z, 0-9, - and dots, up to 63 characters")
	}
	return nil
}

func domain(s string) error {
	if subdomain(s) != nil {
		return expected("a domain such as example.org")
	}
	return nil
}

// qualifiedName accepts the key of a label or taint: [domain/]name.
func qualifiedName(s string) error {
	name := s
	if prefix, rest, ok := strings.Cut(s, "/"); ok {
		if subdomain(prefix) != nil {
			return expected("a key such as example.org/name")
		}
		name = rest
	}
	if name == "" || labelValue(name) != nil {
		return expected("a key such as example.org/name")
	}
	return nil
}

func labelValue(s string) error {
	if s == "" {
		return nil
	}
	first, last := s[0]|0x20, s[len(s)-1]|0x20
	if len(s) > 63 || !alphanumeric(first) || !alphanumeric(last) || !only(s, "-_.", true) {
		return expected("a value of letters, digits, -, _ and dots, up to 63 characters")
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
	if subdomain(host) != nil || hasPort && (err != nil || n < 1 || n > 65535) {
		return expected("a host, with a port if need be, such as docker.io or registry.example.org:5000")
	}
	return nil
}

// bootstrapToken accepts Kubernetes' form: 6 characters, a dot, 16 characters.
func bootstrapToken(s string) error {
	id, secret, _ := strings.Cut(s, ".")
	if len(id) != 6 || len(secret) != 16 || !only(id+secret, "", false) {
		return expected("a token of 6 characters, a dot and 16 characters, all a-z or 0-9")
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

func quantity(s string) error {
	digits := strings.TrimRight(s, "mKMGTik")
	whole, fraction, dot := strings.Cut(digits, ".")
	if !isDigits(whole) || dot && !isDigits(fraction) || Amount(s) == 0 {
		return expected("an amount above 0, such as 500m, 100Mi or 2Gi")
	}
	return nil
}

func wholeQuantity(s string) error {
	if quantity(s) != nil || strings.Contains(s, ".") || strings.HasSuffix(s, "m") {
		return expected("a whole amount above 0, such as 1000 or 10Mi")
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
		return expected("an amount such as 100Mi, or a percentage such as 10%")
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && len(s) <= 15 && strings.Trim(s, "0123456789") == ""
}
