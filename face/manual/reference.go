package manual

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// part is what a configuration has in one place: at the top, below a kind of job, below a kind of connector.
type part struct {
	path    string // of keys, without what stands above a job and without names of a person's own; "" at the top, rules of rules
	text    string
	keys    []key
	example string
}

// key is one of a part.
type key struct {
	name  string // from the part on: retain.time, columns[].name, sinks.NAME.batch
	need  bool   // it has to be given
	takes string
	kinds []string // paths of the parts of which it has one
	means string
}

// reference is all parts, in the order of a configuration.
func (m Manual) reference() ([]part, error) {
	schema := new(jsonschema.Schema)
	if err := json.Unmarshal(m.Schema, schema); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	rules := new(jsonschema.Schema)
	if err := json.Unmarshal(m.Rules, rules); err != nil {
		return nil, fmt.Errorf("read schema of rules: %w", err)
	}
	r := &reader{examples: m.Examples, seen: map[string]string{}}
	r.part("", nil, schema)
	r.part(rulesPart, nil, rules)
	return r.parts, nil
}

// reader makes parts of a schema.
type reader struct {
	examples map[string]string
	parts    []part
	seen     map[string]string // where a large mapping stands that stands more than once
}

// large is how many bytes of schema are too many to be told twice.
const large = 600

// top is how the example of the whole file is called.
const top = "holdfast"

// rulesPart is the path of the top of a rule file.
const rulesPart = "rules"

func (r *reader) part(name string, path []string, s *jsonschema.Schema) {
	at := len(r.parts)
	r.parts = append(r.parts, part{path: name, text: s.Description, example: r.examples[name]})
	if name == "" {
		r.parts[at].example = r.examples[top]
	}
	w := &walk{reader: r, base: len(path)}
	if m := inner(s); m != nil {
		w.mapping(path, m)
	}
	r.parts[at].keys = w.keys
	for _, later := range w.later {
		later()
	}
}

// shortPath is a path without jobs.NAME and further names of a person's own.
func shortPath(path []string) string {
	var words []string
	for _, w := range path {
		if w != ownName && (len(words) > 0 || w != "jobs") {
			words = append(words, strings.TrimSuffix(w, "[]"))
		}
	}
	return strings.Join(words, ".")
}

// eachWith begins what is by names of a person's own.
const eachWith = "names, each with"

// ownName stands where a person gives a name.
const ownName = "NAME"

// walk gathers the keys of one part.
type walk struct {
	*reader
	base  int // how many keys are above the part
	keys  []key
	later []func() // reads the parts below
}

func below(path []string, more string) []string { return append(path[:len(path):len(path)], more) }

// mapping gathers the keys of a mapping, but for those of which it has one: they are parts of their own.
func (w *walk) mapping(path []string, s *jsonschema.Schema) (kinds []string) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		at := below(path, p.Key)
		if !isKind(s, p.Key) {
			w.key(at, p.Value, slices.Contains(s.Required, p.Key))
			continue
		}
		kinds = append(kinds, shortPath(at))
		w.later = append(w.later, func() { w.part(shortPath(at), at, p.Value) })
	}
	return kinds
}

// isKind reports whether a key is one of those of which a mapping has exactly one.
func isKind(s *jsonschema.Schema, name string) bool {
	return slices.ContainsFunc(s.OneOf, func(o *jsonschema.Schema) bool { return len(o.Required) == 1 && o.Required[0] == name })
}

// key gathers one key, and what is below it.
func (w *walk) key(path []string, s *jsonschema.Schema, need bool) {
	k := key{need: need, means: s.Description}
	item := s
	if s.Items != nil {
		item = s.Items
		path[len(path)-1] += "[]"
	}
	k.name = strings.TrimSuffix(strings.Join(path[w.base:], "."), "[]")
	m := inner(item)
	if m == nil {
		k.takes = value(s)
		w.keys = append(w.keys, k)
		return
	}
	words := besides(item)
	if more := m.AdditionalProperties; more != nil && (more.Type != "" || len(either(more)) > 0) {
		path = below(path, ownName)
		if words = append(words, eachWith+" "+value(more)); inner(more) == nil {
			k.takes = strings.Join(words, ", or ")
			w.keys = append(w.keys, k)
			return
		}
		words[len(words)-1] = strings.TrimSpace(eachWith + " " + strings.Join(besides(more), ", or "))
		m = inner(more)
	} else if s.Items != nil && len(words) > 0 {
		words = []string{"a list, each " + words[0]}
	} else if s.Items != nil {
		words = append(words, "a list of mappings")
	} else if !hasKinds(m) && !slices.ContainsFunc(words, func(s string) bool { return strings.HasPrefix(s, "a mapping") }) {
		words = append(words, "a mapping")
	}
	k.takes = strings.Join(words, ", or ")
	at := len(w.keys)
	w.keys = append(w.keys, k)
	if other := w.again(path, m); other != "" {
		w.keys[at].takes = strings.TrimPrefix(strings.TrimSuffix(k.takes, " with")+" as "+other, " ")
		return
	}
	w.keys[at].kinds = w.mapping(path, m)
}

func hasKinds(s *jsonschema.Schema) bool { return len(s.OneOf) > 0 && len(s.OneOf[0].Required) == 1 }

// again is where a mapping was told of before, "" if it was not or is small.
func (w *walk) again(path []string, s *jsonschema.Schema) string {
	plain := *s
	plain.Description = ""
	b, err := json.Marshal(&plain)
	if err != nil || len(b) < large {
		return ""
	}
	other := w.seen[string(b)]
	if other == "" {
		w.seen[string(b)] = strings.TrimSuffix(shortPath(path), "[]")
	}
	return other
}

// inner is the mapping that a value is or may be, nil if it is none.
func inner(s *jsonschema.Schema) *jsonschema.Schema {
	if s.Properties.Len() > 0 || s.Type == "object" {
		return s
	}
	for _, one := range either(s) {
		if m := inner(one); m != nil {
			return m
		}
	}
	return nil
}

// besides is what a value may be that may also be a mapping.
func besides(s *jsonschema.Schema) (words []string) {
	for _, one := range either(s) {
		switch {
		case one.Items != nil && len(words) == 0:
			words = append(words, "a mapping or a list of them")
		case one.Items == nil && inner(one) == nil && len(one.Required) == 0:
			words = append(words, value(one))
		}
	}
	return words
}

// either is what a value may be, of which it is one.
func either(s *jsonschema.Schema) []*jsonschema.Schema {
	return append(slices.Clone(s.OneOf), s.AnyOf...)
}

// value says what a plain value is.
func value(s *jsonschema.Schema) string {
	switch {
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		return choice(words)
	case s.Items != nil:
		return "a list of " + strings.TrimPrefix(value(s.Items), "a ") + "s"
	case s.Title != "":
		text, _, _ := strings.Cut(s.Title, ": ")
		return text
	case len(either(s)) > 0:
		all := either(s)
		if more := all[len(all)-1]; more.Items != nil {
			return value(all[0]) + " or a list of such"
		}
		return value(all[0])
	}
	return map[string]string{"string": "text", "integer": "a number", "number": "a number", "boolean": "true or false"}[s.Type]
}

// choice is words of which one is taken.
func choice(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
