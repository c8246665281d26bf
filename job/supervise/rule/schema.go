package rule

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/invopop/jsonschema"

	"holdfast/base/secret"
)

// Reflect makes the schema of a struct. mapped returns the schemas of types whose written form is not that of their fields,
// and nil for others.
type Reflect func(v any, mapped func(reflect.Type) *jsonschema.Schema) *jsonschema.Schema

// Schema is the JSON schema of rule files with these kinds of watchers, for editors that complete them and for the
// reference.
func Schema(kinds Kinds, reflect Reflect) ([]byte, error) {
	x := &schemas{kinds: kinds, reflect: reflect}
	s := x.of(File{})
	s.Version = jsonschema.Version
	s.Title = "Rules of Holdfast"
	s.Description = "What is watched, which of it matters, and what is done then: the file that a supervise job names."
	s.Required = []string{"rules"}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// schemas makes the schemas of the types of a rule file.
type schemas struct {
	kinds   Kinds
	reflect Reflect
	source  *jsonschema.Schema
}

func (x *schemas) of(v any) *jsonschema.Schema {
	return x.reflect(v, x.mapped)
}

// mapped returns the schema of a type whose written form is not that of its fields, nil for others.
func (x *schemas) mapped(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return word("a time: 30s, 5m, 1h30m, 7d")
	case reflect.TypeFor[secret.Text]():
		return word("a text: ${NAME} in it is taken from the environment")
	case reflect.TypeFor[Source]():
		return x.sources()
	case reflect.TypeFor[Actions]():
		return oneOrMore(x.of(Action{}))
	case reflect.TypeFor[Cooldown]():
		return either(word("a time: 30s"), x.of(cooldown{}))
	case reflect.TypeFor[Type]():
		return either(&jsonschema.Schema{Type: "string", Enum: []any{typeWord, typeInt, typeIP, typeUnit}}, x.of(typed{}))
	case reflect.TypeFor[Mode]():
		return &jsonschema.Schema{Type: "string", Enum: []any{Live, Shadow, Off}}
	case reflect.TypeFor[Unknown]():
		return &jsonschema.Schema{Type: "string", Enum: []any{Ask, Repeat}}
	case reflect.TypeFor[[]string]():
		return oneOrMore(scalar())
	case reflect.TypeFor[map[string]string]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: scalar()}
	}
	return nil
}

// word is a text that is written as the title says.
func word(title string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Title: title} }

// cooldown is Cooldown as a mapping, and typed is Type.
type (
	cooldown Cooldown
	typed    Type
)

// scalar is a word, which may be written as a number or as true.
func scalar() *jsonschema.Schema {
	return either(&jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "boolean"})
}

func either(all ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: all} }

func oneOrMore(s *jsonschema.Schema) *jsonschema.Schema {
	return either(s, &jsonschema.Schema{Type: "array", Items: s})
}

// sources is a mapping with exactly one of the kinds, and every and since.
func (x *schemas) sources() *jsonschema.Schema {
	if x.source != nil {
		again := *x.source // each place has a text of its own
		return &again
	}
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for _, name := range slices.Sorted(maps.Keys(x.kinds)) {
		kind := x.kinds[name]
		config := x.of(reflect.ValueOf(kind.Config).Elem().Interface())
		if kind.Word != "" {
			text := config.Description
			config = either(word("text, its "+kind.Word), config)
			config.Description = text
		}
		s.Properties.Set(name, config)
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{name}})
	}
	every, since := word("a time: 10s"), word("")
	every.Description, every.Default = "How often what is polled is looked at; default 10s.", "10s"
	since.Default = "now"
	since.Description = "Where it begins at first: now, boot, or a time such as 2026-01-31T12:00:00Z; default now."
	s.Properties.Set("every", every)
	s.Properties.Set("since", since)
	x.source = s
	return s
}
