package nodeconfig

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

// maxFaults bounds what a broken document can make a node say.
const maxFaults = 32

// reader walks a document and collects its faults.
type reader struct {
	source  string
	faults  []Fault
	dropped int
	at      *schema.Schema // instead of a document, its schema is written here; see Schema
}

// visit reads the node at a path and says whether it was valid.
type visit func(path string, n *yaml.Node) bool

// fault notes what is wrong at a node; its result is always false.
func (r *reader) fault(path string, n *yaml.Node, format string, args ...any) bool {
	if r.at != nil {
		return false
	}
	f := Fault{Source: r.source, Path: path, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		f.Line = n.Line
	}
	if len(r.faults) >= maxFaults {
		r.dropped++
		return false
	}
	r.faults = append(r.faults, f)
	return false
}

// mapping reads a mapping with known keys. A fault in one value leaves the
// others valid.
func (r *reader) mapping(path string, n *yaml.Node, known map[string]visit) bool {
	if r.at != nil {
		return r.describeMapping(path, known)
	}
	return r.eachKey(path, n, func(key string, k, v *yaml.Node) {
		at := join(path, key)
		if read, ok := known[key]; ok {
			read(at, v)
			return
		}
		r.fault(at, k, "unknown key%s", suggest(key, known))
	})
}

// eachKey calls read for every key of a mapping, once.
func (r *reader) eachKey(path string, n *yaml.Node, read func(key string, k, v *yaml.Node)) bool {
	if isNull(n) {
		return true
	}
	if n.Kind != yaml.MappingNode {
		return r.fault(path, n, "is %s, expected a mapping", describe(n))
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			r.fault(path, k, "has %s as a key, expected a string", describe(k))
		case seen[k.Value]:
			r.fault(join(path, k.Value), k, "stands here twice; the first one applies")
		default:
			seen[k.Value] = true
			read(k.Value, k, v)
		}
	}
	return true
}

// keyed reads a mapping whose keys a check accepts.
func (r *reader) keyed(key func(string) error, read func(key, path string, k, v *yaml.Node)) visit {
	return func(path string, n *yaml.Node) bool {
		if r.at != nil {
			return r.describeKeyed(path, key, read)
		}
		return r.eachKey(path, n, func(s string, k, v *yaml.Node) { read(s, join(path, s), k, v) })
	}
}

// list reads a list and keeps its valid items.
func list[T any](r *reader, to *[]T, item func(*T) visit) visit {
	return func(path string, n *yaml.Node) bool {
		if r.at != nil {
			return r.describeList(path, item(new(T)))
		}
		if isNull(n) {
			return true
		}
		if n.Kind != yaml.SequenceNode {
			return r.fault(path, n, "is %s, expected a list", describe(n))
		}
		for i, c := range n.Content {
			var v T
			if item(&v)(fmt.Sprintf("%s[%d]", path, i), c) {
				*to = append(*to, v)
			}
		}
		return true
	}
}

// value reads a scalar of one of the YAML tags with parse, whose error says
// what was expected.
func value[T any](r *reader, to *T, parse func(string) (T, error), tags ...string) visit {
	return func(path string, n *yaml.Node) bool {
		if r.at != nil {
			_, err := parse(refused)
			return r.describeValue(*to, err, tags)
		}
		if n.Kind != yaml.ScalarNode || !hasTag(n, tags) {
			return r.fault(path, n, "is %s, expected %s", describe(n), tagNames[tags[0]])
		}
		v, err := parse(n.Value)
		if err != nil {
			return r.fault(path, n, "is %s, expected %v", quote(n.Value), err)
		}
		*to = v
		return true
	}
}

func (r *reader) text(to *string, check func(string) error) visit {
	return value(r, to, func(s string) (string, error) { return s, check(s) }, "!!str")
}

// secret is text that no fault shows.
func (r *reader) secret(to *string, check func(string) error) visit {
	return func(path string, n *yaml.Node) bool {
		if r.at != nil {
			r.at.WriteOnly = true
			return r.describeValue("", check(refused), []string{"!!str"})
		}
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			return r.fault(path, n, "is not valid, expected %s", tagNames["!!str"])
		}
		if err := check(n.Value); err != nil {
			return r.fault(path, n, "is not valid, expected %v", err)
		}
		*to = n.Value
		return true
	}
}

func (r *reader) integer(to *int, low, high int) visit {
	return value(r, to, func(s string) (int, error) {
		i, err := strconv.Atoi(s)
		if err != nil || i < low || i > high {
			return 0, &expectation{fmt.Sprintf("a whole number from %d to %d", low, high),
				schema.Schema{Minimum: new(int64(low)), Maximum: new(int64(high))}}
		}
		return i, nil
	}, "!!int")
}

func (r *reader) boolean(to *bool) visit {
	return value(r, to, func(s string) (bool, error) { return strings.EqualFold(s, "true"), nil }, "!!bool")
}

// texts reads a mapping from strings to strings, over what is already there.
func (r *reader) texts(to *map[string]string, key func(string) error, val func(key, value string) error, tags ...string) visit {
	tags = append([]string{"!!str"}, tags...)
	return func(path string, n *yaml.Node) bool {
		if r.at != nil {
			return r.describeTexts(*to, key(refused), val, tags)
		}
		return r.eachKey(path, n, func(k string, kn, vn *yaml.Node) {
			at := join(path, k)
			if err := key(k); err != nil {
				r.fault(at, kn, "is not a key here, expected %v", err)
				return
			}
			var v string
			check := func(s string) (string, error) { return s, val(k, s) }
			if !value(r, &v, check, tags...)(at, vn) {
				return
			}
			if *to == nil {
				*to = map[string]string{}
			}
			(*to)[k] = v
		})
	}
}

var tagNames = map[string]string{
	"!!str":  "a string (in quotes if it looks like something else)",
	"!!int":  "a whole number",
	"!!bool": "true or false",
}

func hasTag(n *yaml.Node, tags []string) bool {
	for _, t := range tags {
		if n.ShortTag() == t {
			return true
		}
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func join(path, key string) string {
	if len(key) > 64 {
		key = key[:64] + "…"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe names what stands at a node.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias, which is not supported"
	case isNull(n):
		return "empty"
	case n.ShortTag() == "!!str":
		return "the string " + quote(n.Value)
	}
	return quote(n.Value)
}

func quote(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strconv.Quote(s)
}

// suggest names the known key that a wrong one was most likely meant to be.
func suggest(key string, known map[string]visit) string {
	best, least := "", 3
	for k := range known {
		d := distance(strings.ToLower(key), strings.ToLower(k))
		if d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	if best == "" || least >= len(best) {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is how many letters must be put in, taken out or replaced to turn
// one word into the other. Words that differ much in length are just far.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
