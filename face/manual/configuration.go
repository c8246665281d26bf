package manual

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// configuration is the page of configuration files: each key where it stands, and what it takes.
func (m Manual) configuration() ([]byte, error) {
	name := m.Root.Name()
	schema := new(jsonschema.Schema)
	if err := json.Unmarshal(m.Schema, schema); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	p := m.begin(name+".yaml", "5", "configuration of "+name)
	p.section("SYNOPSIS")
	p.paragraph(bold(name+" check -c") + " " + italic("FILE"))
	p.paragraph(bold(name+" run -c") + " " + italic("FILE"))
	p.section("DESCRIPTION")
	p.text("A configuration file is YAML. A job has a name, one kind, and that kind's settings; a connector is named by its kind's " +
		"key. A key that is unknown, and a value that can't be, is an error with its line: `" + name + " check` tells all of them.\n\n" +
		"${NAME} in a value is replaced by the environment's; a secret is best written so. A job that has changed is begun anew by " +
		"`systemctl reload " + name + "`; the others do not notice.")
	p.section("KEYS")
	p.text("In the place of NAME stands any name. ONE OF has exactly one of the keys below it. A time is written 120s, 5m, 1h30m or 7d, a " +
		"size 500MB or 20GiB; in the place of a size may stand a number of bytes. What has to be given is marked with an asterisk.")
	p.line(".PP")
	p.line(".nf")
	o := outline{page: p, seen: map[string]string{}}
	o.keys(schema, nil)
	p.line(".fi")
	p.section("FILES")
	p.term(bold("/usr/share/doc/"+name), "what each key means: operations.md of the keys beside jobs, and a file for each job and connector.")
	p.section("SEE ALSO")
	p.paragraph(bold(name+"-check") + "(1), " + bold(name+"-run") + "(1); the schema for editors: " + bold(name+" check --schema"))
	return p.Bytes(), nil
}

// outline writes a schema as the file that it is of.
type outline struct {
	*page
	seen map[string]string // where a large part stands that stands more than once
}

// large is how many bytes of schema are too many to be written twice.
const large = 600

// keys writes the keys of a mapping that stands below a path.
func (o outline) keys(s *jsonschema.Schema, path []string) {
	indent := strings.Repeat("  ", len(path))
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		need := ""
		if slices.Contains(s.Required, p.Key) {
			need = "*"
		}
		o.key(p.Key+need, p.Value, append(path[:len(path):len(path)], p.Key), indent)
	}
	if more := s.AdditionalProperties; isMapping(more) || more != nil && more.Type != "" {
		o.key("NAME", more, append(path[:len(path):len(path)], "NAME"), indent)
	}
}

func (o outline) key(name string, s *jsonschema.Schema, path []string, indent string) {
	key := indent + escaped(name) + ": "
	item := s
	if s.Items != nil {
		item = s.Items
	}
	mapping, list := first(item), ""
	if s.Items != nil {
		list = "a list, each: "
	}
	if mapping == nil {
		o.line(`%s%s`, key, italic(value(s)))
		return
	}
	if b, err := json.Marshal(mapping); err == nil && len(b) > large {
		if at, ok := o.seen[string(b)]; ok {
			o.line("%s%s", key, italic("as "+at))
			return
		}
		o.seen[string(b)] = strings.Join(path, ".")
	}
	if choice(mapping) {
		list += "ONE OF"
	}
	if plain := besides(item); plain != "" {
		list += plain + ", or:"
	}
	o.line("%s%s", key, italic(list))
	o.keys(mapping, path)
}

func isMapping(s *jsonschema.Schema) bool {
	return s != nil && (s.Properties.Len() > 0 || s.Type == "object")
}

// first is the mapping that a value is or may be, nil if it is none.
func first(s *jsonschema.Schema) *jsonschema.Schema {
	if isMapping(s) {
		return s
	}
	for _, one := range s.OneOf {
		if m := first(one); m != nil {
			return m
		}
	}
	return nil
}

// besides is what a value may be that may also be a mapping.
func besides(s *jsonschema.Schema) string {
	for _, one := range s.OneOf {
		if !isMapping(one) && len(one.Required) == 0 {
			return value(one)
		}
	}
	return ""
}

// choice reports whether a mapping has one of its keys.
func choice(s *jsonschema.Schema) bool { return len(s.OneOf) > 0 && len(s.OneOf[0].Required) == 1 }

// value says what a plain value is.
func value(s *jsonschema.Schema) string {
	switch {
	case len(s.Enum) > 0:
		var b bytes.Buffer
		for i, v := range s.Enum {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprint(&b, v)
		}
		return b.String()
	case s.Items != nil:
		return "a list, each: " + value(s.Items)
	case len(s.OneOf) > 0:
		return value(s.OneOf[0])
	case s.Description != "":
		text, _, _ := strings.Cut(s.Description, ":")
		text, _, _ = strings.Cut(text, ";")
		return text
	}
	return map[string]string{"string": "text", "integer": "a number", "number": "a number", "boolean": "true or false"}[s.Type]
}
