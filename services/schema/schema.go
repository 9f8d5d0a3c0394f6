// Package schema is the part of JSON Schema 2020-12 that our documents are described with.
package schema

import (
	"encoding/json"
	"slices"
)

// Dialect is the identifier of JSON Schema 2020-12.
const Dialect = "https://json-schema.org/draft/2020-12/schema"

// Types of values.
const (
	Object  = "object"
	Array   = "array"
	String  = "string"
	Integer = "integer"
	Number  = "number"
	Boolean = "boolean"
	Null    = "null"
)

// Schema describes a value. What is not set does not restrict it.
type Schema struct {
	Dialect     string `json:"$schema,omitempty"`
	ID          string `json:"$id,omitempty"`
	Ref         string `json:"$ref,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`

	Type  Types   `json:"type,omitempty"`
	Const any     `json:"const,omitempty"`
	Enum  []any   `json:"enum,omitempty"`
	Not   *Schema `json:"not,omitempty"`

	AnyOf []*Schema `json:"anyOf,omitempty"`
	OneOf []*Schema `json:"oneOf,omitempty"`

	Pattern string `json:"pattern,omitempty"`
	// Expected says in words what Pattern and the rest mean; editors show it.
	Expected  string `json:"patternErrorMessage,omitempty"`
	MinLength int    `json:"minLength,omitempty"`
	MaxLength int    `json:"maxLength,omitempty"`
	Format    string `json:"format,omitempty"`
	Encoding  string `json:"contentEncoding,omitempty"`
	WriteOnly bool   `json:"writeOnly,omitempty"`

	Minimum          *int64 `json:"minimum,omitempty"`
	Maximum          *int64 `json:"maximum,omitempty"`
	ExclusiveMinimum *int64 `json:"exclusiveMinimum,omitempty"`

	Items    *Schema `json:"items,omitempty"`
	MinItems int     `json:"minItems,omitempty"`

	Properties           map[string]*Schema `json:"properties,omitempty"`
	PropertyNames        *Schema            `json:"propertyNames,omitempty"`
	AdditionalProperties *Additional        `json:"additionalProperties,omitempty"`
	Required             []string           `json:"required,omitempty"`

	Default  any                `json:"default,omitempty"`
	Examples []any              `json:"examples,omitempty"`
	Defs     map[string]*Schema `json:"$defs,omitempty"`
}

// Types are the types that a value may have.
type Types []string

// MarshalJSON writes a single type as a string.
func (t Types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// Has reports whether a value may have a type.
func (t Types) Has(name string) bool { return slices.Contains(t, name) }

// Additional describes properties that are not named; with a nil Schema there
// must be none.
type Additional struct{ *Schema }

// MarshalJSON writes false for none.
func (a *Additional) MarshalJSON() ([]byte, error) {
	if a.Schema == nil {
		return []byte("false"), nil
	}
	return json.Marshal(a.Schema)
}
