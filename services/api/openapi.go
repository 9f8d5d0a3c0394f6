package api

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"holdfast/services/schema"
)

// OpenAPI is the OpenAPI 3.1 document, made from Calls and the Go types.
type OpenAPI struct {
	OpenAPI    string                          `json:"openapi"`
	Info       map[string]string               `json:"info"`
	Security   []map[string][]string           `json:"security"`
	Paths      map[string]map[string]Operation `json:"paths"`
	Components Components                      `json:"components"`
}

// Operation is a call in the document.
type Operation struct {
	ID          string              `json:"operationId"`
	Summary     string              `json:"summary"`
	Role        string              `json:"x-holdfast-role"`
	Parameters  []ParameterObject   `json:"parameters,omitempty"`
	RequestBody *Content            `json:"requestBody,omitempty"`
	Responses   map[string]*Content `json:"responses"`
}

// ParameterObject is a parameter in the document.
type ParameterObject struct {
	Name        string         `json:"name"`
	In          string         `json:"in"`
	Description string         `json:"description,omitempty"`
	Required    bool           `json:"required,omitempty"`
	Schema      *schema.Schema `json:"schema"`
}

// Content is a body in the document.
type Content struct {
	Description string                               `json:"description"`
	Required    bool                                 `json:"required,omitempty"`
	Content     map[string]map[string]*schema.Schema `json:"content"`
}

// Components are what operations refer to.
type Components struct {
	Schemas         map[string]*schema.Schema    `json:"schemas"`
	SecuritySchemes map[string]map[string]string `json:"securitySchemes"`
}

// Describe makes the document.
func Describe() *OpenAPI {
	d := &OpenAPI{
		OpenAPI: "3.1.0",
		Info: map[string]string{
			"title": "Holdfast node API", "version": "1",
			"description": "What a Holdfast node can be asked, over mutual TLS 1.3 on port " + strconv.Itoa(Port) + ". x-holdfast-role is the least role that the client certificate's organisation must name.",
		},
		Security: []map[string][]string{{"client": {}}},
		Paths:    map[string]map[string]Operation{},
		Components: Components{
			Schemas:         map[string]*schema.Schema{},
			SecuritySchemes: map[string]map[string]string{"client": {"type": "mutualTLS"}},
		},
	}
	failure := d.ref(reflect.TypeFor[Failure]())
	for _, c := range Calls() {
		if d.Paths[c.Path] == nil {
			d.Paths[c.Path] = map[string]Operation{}
		}
		d.Paths[c.Path][strings.ToLower(c.Method)] = d.operation(c, failure)
	}
	return d
}

func (d *OpenAPI) operation(c Call, failure *schema.Schema) Operation {
	o := Operation{ID: c.Name, Summary: c.Summary, Role: string(c.Role), Responses: map[string]*Content{
		"default": body("Why the call failed.", JSON, failure),
	}}
	switch {
	case c.Planned:
		o.Responses[strconv.Itoa(http.StatusNotImplemented)] = body("This release does not serve it yet.", JSON, failure)
	case c.Stream:
		line := &schema.Schema{Type: schema.Types{schema.Object}, Properties: map[string]*schema.Schema{
			"item": d.ref(reflect.TypeOf(c.Answer)), "end": {Type: schema.Types{schema.Boolean}}, "error": d.ref(reflect.TypeFor[Error]()),
		}}
		o.Responses["200"] = body("One object per line; the last one has end or error.", NDJSON, line)
	default:
		o.Responses["200"] = body("The answer.", JSON, d.ref(reflect.TypeOf(c.Answer)))
	}
	if strings.Contains(c.Path, "{name}") {
		o.Parameters = append(o.Parameters, ParameterObject{Name: "name", In: "path", Required: true, Description: "the service", Schema: &schema.Schema{Type: schema.Types{schema.String}}})
	}
	for _, q := range c.Query {
		o.Parameters = append(o.Parameters, ParameterObject{Name: q.Name, In: "query", Description: q.Meaning, Schema: d.of(reflect.TypeOf(q.Example))})
	}
	if c.Takes != "" {
		o.RequestBody = body("A configuration document.", c.Takes, &schema.Schema{Type: schema.Types{schema.String}})
		o.RequestBody.Required = true
	}
	return o
}

func body(description, media string, s *schema.Schema) *Content {
	return &Content{Description: description, Content: map[string]map[string]*schema.Schema{media: {"schema": s}}}
}

// ref describes a struct once, among the components.
func (d *OpenAPI) ref(t reflect.Type) *schema.Schema {
	name := t.Name()
	if t.PkgPath() != reflect.TypeFor[Call]().PkgPath() {
		name = t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:] + "." + name
	}
	if _, known := d.Components.Schemas[name]; !known {
		s := &schema.Schema{Type: schema.Types{schema.Object}, Properties: map[string]*schema.Schema{}}
		d.Components.Schemas[name] = s
		d.fields(s, t)
	}
	return &schema.Schema{Ref: "#/components/schemas/" + name}
}

// fields describes what encoding/json writes of a struct.
func (d *OpenAPI) fields(s *schema.Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" {
			d.fields(s, f.Type)
			continue
		}
		if tag == "" || tag == "-" {
			panic(fmt.Sprintf("api: %s.%s has no name in JSON", t, f.Name))
		}
		s.Properties[tag] = d.of(f.Type)
		if !strings.Contains(options, "omit") {
			s.Required = append(s.Required, tag)
		}
	}
}

func (d *OpenAPI) of(t reflect.Type) *schema.Schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema.Schema{Type: schema.Types{schema.String}, Format: "date-time"}
	case t == reflect.TypeFor[[]byte]():
		return &schema.Schema{Type: schema.Types{schema.String}, Encoding: "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.Struct:
		return d.ref(t)
	case reflect.Slice:
		return &schema.Schema{Type: schema.Types{schema.Array}, Items: d.of(t.Elem())}
	case reflect.String:
		return &schema.Schema{Type: schema.Types{schema.String}}
	case reflect.Bool:
		return &schema.Schema{Type: schema.Types{schema.Boolean}}
	case reflect.Int, reflect.Int64:
		return &schema.Schema{Type: schema.Types{schema.Integer}}
	}
	panic(fmt.Sprintf("api: no schema for %s", t))
}
