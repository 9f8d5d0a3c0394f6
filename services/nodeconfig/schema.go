package nodeconfig

import (
	"errors"
	"maps"
	"reflect"
	"slices"

	"holdfast/services/schema"

	"go.yaml.in/yaml/v3"
)

// Schema is the JSON Schema of the document. It is not written anywhere: the
// reader is run over its own tables instead of a document, and each part of it
// notes what it would accept. What a schema can't say (such as that two values
// go together) only Parse finds.
func Schema() *schema.Schema {
	root := &schema.Schema{}
	r := &reader{at: root}
	r.mapping("", noNode, r.schema(base()))
	root.Dialect, root.Title = schema.Dialect, Kind
	root.Description = about[""]
	root.Type = schema.Types{schema.Object}
	root.Required = []string{"apiVersion", "kind"}
	return root
}

// refused is a string that no check accepts.
const refused = "\x00"

// noNode stands for the nodes of the document that is not there.
var noNode = &yaml.Node{}

// note lets a part of the reader add to the schema what its table doesn't say.
func (r *reader) note(add func(*schema.Schema)) {
	if r.at != nil {
		add(r.at)
	}
}

// describe lets a part of the reader write its own schema.
func (r *reader) describe(path string, read visit) *schema.Schema {
	return r.aside(about[path], func() { read(path, noNode) })
}

func (r *reader) aside(description string, write func()) *schema.Schema {
	outer := r.at
	r.at = &schema.Schema{Description: description}
	write()
	inner := r.at
	r.at = outer
	return inner
}

func (r *reader) describeMapping(path string, known map[string]visit) bool {
	r.at.Type = schema.Types{schema.Object, schema.Null}
	r.at.AdditionalProperties = &schema.Additional{}
	r.at.Properties = map[string]*schema.Schema{}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		r.at.Properties[key] = r.describe(join(path, key), known[key])
	}
	return true
}

func (r *reader) describeList(path string, item visit) bool {
	r.at.Type = schema.Types{schema.Array, schema.Null}
	r.at.Items = r.describe(path+"[]", item)
	return true
}

// describeKeyed asks for the value of any key: the check of the key is the
// reader's own business.
func (r *reader) describeKeyed(path string, key func(string) error, read func(key, path string, k, v *yaml.Node)) bool {
	r.at.Type = schema.Types{schema.Object, schema.Null}
	r.at.PropertyNames = expects(key(refused))
	r.at.AdditionalProperties = &schema.Additional{Schema: r.describe(join(path, "*"), func(path string, n *yaml.Node) bool {
		read(anyKey, path, n, n)
		return true
	})}
	return true
}

// anyKey is a key that checks of keys accept.
const anyKey = "key"

func (r *reader) describeTexts(preset map[string]string, key error, val func(key, value string) error, tags []string) bool {
	r.at.Type = schema.Types{schema.Object, schema.Null}
	r.at.PropertyNames = expects(key)
	if len(preset) > 0 {
		r.at.Default = preset
	}
	value := func(key string) *schema.Schema {
		return r.aside("", func() { r.describeValue("", val(key, refused), tags) })
	}
	if r.at.PropertyNames.Enum == nil {
		r.at.AdditionalProperties = &schema.Additional{Schema: value(anyKey)}
		return true
	}
	r.at.AdditionalProperties = &schema.Additional{}
	r.at.Properties = map[string]*schema.Schema{}
	for _, k := range r.at.PropertyNames.Enum {
		r.at.Properties[k.(string)] = value(k.(string))
	}
	return true
}

var tagTypes = map[string]string{"!!str": schema.String, "!!int": schema.Integer, "!!bool": schema.Boolean, "!!float": schema.Number}

// describeValue notes a scalar; refusal is what its check answered to refused.
func (r *reader) describeValue(preset any, refusal error, tags []string) bool {
	description, writeOnly := r.at.Description, r.at.WriteOnly
	r.at = expects(refusal)
	r.at.Description, r.at.WriteOnly = description, writeOnly
	for _, t := range tags {
		r.at.Type = append(r.at.Type, tagTypes[t])
	}
	if r.at.Type.Has(schema.Number) { // which whole numbers are as well
		r.at.Type = slices.DeleteFunc(r.at.Type, func(t string) bool { return t == schema.Integer })
	}
	if v := reflect.ValueOf(preset); v.Kind() == reflect.Bool || !v.IsZero() {
		r.at.Default = preset
	}
	return true
}

// expects turns a refusal into the schema of what was expected.
func expects(refusal error) *schema.Schema {
	e, ok := errors.AsType[*expectation](refusal)
	if !ok {
		return &schema.Schema{}
	}
	s := e.schema
	s.Expected = e.text
	return &s
}

// checked stands for a key that was looked at before all others.
func (r *reader) checked(want string) visit {
	return func(string, *yaml.Node) bool {
		r.note(func(s *schema.Schema) { s.Type, s.Const = schema.Types{schema.String}, want })
		return true
	}
}

func (r *reader) describePod(to *Pod, path string) bool {
	pod := r.at
	pod.Type = schema.Types{schema.Object}
	pod.Required = []string{"apiVersion", "kind", "metadata"}
	meta := &schema.Schema{Type: schema.Types{schema.Object}, Required: []string{"name"}, Properties: map[string]*schema.Schema{}}
	meta.Description = about[join(path, "metadata")]
	pod.Properties = map[string]*schema.Schema{"metadata": meta}
	for _, f := range to.fields() {
		in, at := pod, join(path, f.key)
		if f.path != "" {
			in, at = meta, join(join(path, f.path), f.key)
		}
		in.Properties[f.key] = r.describe(at, r.text(f.to, f.ok))
	}
	return true
}
