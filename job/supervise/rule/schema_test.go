package rule

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
)

// fits is as much of JSON schema as the schema of rule files uses.
func fits(s map[string]any, v any) bool {
	if all, ok := s["anyOf"].([]any); ok {
		for _, one := range all {
			if fits(one.(map[string]any), v) {
				return true
			}
		}
		return false
	}
	if enum, ok := s["enum"].([]any); ok {
		found := false
		for _, e := range enum {
			found = found || reflect.DeepEqual(e, v)
		}
		return found
	}
	switch s["type"] {
	case "string":
		_, ok := v.(string)
		return ok
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "number", "integer":
		_, ok := v.(float64)
		return ok
	case "array":
		list, ok := v.([]any)
		for _, item := range list {
			ok = ok && fits(s["items"].(map[string]any), item)
		}
		return ok
	}
	return fitsObject(s, v)
}

func fitsObject(s map[string]any, v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	if one, is := s["oneOf"].([]any); is {
		n := 0
		for _, o := range one {
			if m[o.(map[string]any)["required"].([]any)[0].(string)] != nil {
				n++
			}
		}
		ok = n == 1
	}
	properties, _ := s["properties"].(map[string]any)
	for key, value := range m {
		p, is := properties[key].(map[string]any)
		if !is {
			if p, is = s["additionalProperties"].(map[string]any); !is {
				return false
			}
		}
		ok = ok && fits(p, value)
	}
	return ok
}

func reflected(v any, mapped func(reflect.Type) *jsonschema.Schema) *jsonschema.Schema {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, FieldNameTag: "yaml",
		RequiredFromJSONSchemaTags: true, Mapper: mapped}
	s := r.Reflect(v)
	s.Version = ""
	return s
}

func TestTheSchemaTakesWhatLoadTakes(t *testing.T) {
	text, err := Schema(kinds, reflected)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../../examples/bitboxbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want bool
	}{
		{shape, true},
		{string(example), true},
		{hostile, true},
		{strings.Replace(shape, "cooldown: 30s", "cooldown: {for: 30s, trailing: true}", 1), true},
		{strings.Replace(shape, "why:", "wy:", 1), false},
		{strings.Replace(shape, "{unit: bitcoind.service}", "{unit: a, journal: {unit: b}}", 1), false},
		{strings.Replace(shape, "{unit: electrs.service}", "{units: electrs.service}", 1), false},
		{strings.Replace(shape, "max: 5", "max: five", 1), false},
	} {
		j, err := yaml.YAMLToJSON([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(j, &v); err != nil {
			t.Fatal(err)
		}
		if fits(schema, v) != c.want {
			t.Errorf("the schema takes it: %v, want %v:\n%s", !c.want, c.want, c.text)
		}
		if _, err := Load("f", []byte(c.text), kinds, noEnv); (err == nil) != c.want {
			t.Errorf("load says %v of\n%s", err, c.text)
		}
	}
}
