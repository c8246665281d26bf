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

// Schema is the JSON schema of rule files with these kinds of watchers, for editors that complete them.
func Schema(kinds Kinds) ([]byte, error) {
	x := &schemas{kinds: kinds}
	s := x.of(File{})
	s.Version = jsonschema.Version
	s.Title = "Rules of Holdfast"
	s.Required = []string{"rules"}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// schemas makes them of our types.
type schemas struct {
	kinds  Kinds
	source *jsonschema.Schema
}

func (x *schemas) of(v any) *jsonschema.Schema {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, FieldNameTag: "yaml",
		RequiredFromJSONSchemaTags: true, Mapper: x.mapped}
	s := r.Reflect(v)
	s.Version = ""
	return s
}

// mapped are the types that are written otherwise than they are.
func (x *schemas) mapped(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return word("a time: 30s, 5m, 1h30m, 7d")
	case reflect.TypeFor[secret.Text]():
		return word("a text; ${NAME} in it is taken from the environment")
	case reflect.TypeFor[Source]():
		return x.sources()
	case reflect.TypeFor[Actions]():
		return oneOrMore(x.of(Action{}))
	case reflect.TypeFor[Cooldown]():
		return either(word("a time: 30s"), x.of(struct {
			For      time.Duration `yaml:"for"`
			Trailing bool          `yaml:"trailing"`
		}{}))
	case reflect.TypeFor[Type]():
		return either(&jsonschema.Schema{Type: "string", Enum: []any{typeWord, typeInt, typeIP, typeUnit}}, x.of(struct {
			Type      string   `yaml:"type"`
			Max       int      `yaml:"max"`
			Enum      []string `yaml:"enum"`
			PathUnder string   `yaml:"path_under"`
		}{}))
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

func word(description string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Description: description}
}

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
		return x.source
	}
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for _, name := range slices.Sorted(maps.Keys(x.kinds)) {
		kind := x.kinds[name]
		config := x.of(reflect.ValueOf(kind.Config).Elem().Interface())
		if kind.Word != "" {
			config = either(&jsonschema.Schema{Type: "string"}, config)
		}
		s.Properties.Set(name, config)
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{name}})
	}
	s.Properties.Set("every", word("how often it is looked at: 10s"))
	s.Properties.Set("since", word("where it begins at first: now, boot, or a time"))
	x.source = s
	return s
}
