package nodeconfig

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/services/schema"
)

// Example is a document with every key.
//
//go:embed example.yaml
var Example string

// Reference is a page in Markdown that explains every key, made from Schema.
func Reference() string {
	var b strings.Builder
	root := Schema()
	fmt.Fprintf(&b, "# %s reference\n\n%s\n\nThe document is YAML, at most %d bytes long; aliases are not followed.\n", Kind, root.Description, MaxSize)
	b.WriteString("In paths, `[]` stands for each item of a list and `*` for a name that you choose.\n")
	var alone, sections []string
	for _, key := range slices.Sorted(maps.Keys(root.Properties)) {
		if root.Properties[key].Properties == nil && root.Properties[key].Items == nil {
			alone = append(alone, key)
		} else {
			sections = append(sections, key)
		}
	}
	b.WriteString("\n## The document\n\n")
	header(&b)
	for _, key := range alone {
		rows(&b, key, root.Properties[key], slices.Contains(root.Required, key))
	}
	for _, key := range sections {
		s := root.Properties[key]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", key, s.Description)
		header(&b)
		children(&b, key, s)
	}
	return b.String()
}

func header(b *strings.Builder) {
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
}

// rows writes a key, and all below it.
func rows(b *strings.Builder, path string, s *schema.Schema, required bool) {
	if s.Description != "" {
		meaning := s.Description
		if required {
			meaning += " Required."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, cell(accepts(s)), cell(preset(s)), cell(meaning))
	}
	children(b, path, s)
}

func children(b *strings.Builder, path string, s *schema.Schema) {
	if s.Items != nil {
		rows(b, path+"[]", s.Items, false)
	}
	if a := s.AdditionalProperties; a != nil && a.Schema != nil {
		rows(b, join(path, "*"), a.Schema, false)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		rows(b, join(path, key), s.Properties[key], slices.Contains(s.Required, key))
	}
}

// accepts says in words what a value may be.
func accepts(s *schema.Schema) string {
	switch {
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case s.Type.Has(schema.Array) && len(s.Items.Type) > 0 && !s.Items.Type.Has(schema.Object):
		return "list; each " + accepts(s.Items)
	case s.Type.Has(schema.Array):
		return "list"
	case s.Type.Has(schema.Object):
		return object(s)
	case s.Type.Has(schema.Boolean):
		return "true or false"
	}
	return s.Expected
}

func object(s *schema.Schema) string {
	if s.PropertyNames == nil {
		return "mapping"
	}
	text := "mapping; each key " + s.PropertyNames.Expected
	if a := s.AdditionalProperties; a != nil && a.Schema != nil && a.Expected != "" {
		return text + "; each value " + a.Expected
	}
	values := map[string]bool{}
	for _, v := range s.Properties {
		values[v.Expected] = true
	}
	if len(values) == 0 {
		return text
	}
	return text + "; each value " + strings.Join(slices.Sorted(maps.Keys(values)), " or ")
}

func preset(s *schema.Schema) string {
	if s.Default == nil {
		return ""
	}
	if m, ok := s.Default.(map[string]string); ok {
		var all []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			all = append(all, fmt.Sprintf("`%s: %s`", k, m[k]))
		}
		return strings.Join(all, ", ")
	}
	text, err := json.Marshal(s.Default)
	if err != nil {
		return ""
	}
	return "`" + strings.Trim(string(text), `"`) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
