package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"holdfast/base/identifier"
	"holdfast/base/secret"
	"holdfast/connector/nats"
	"holdfast/connector/redis"
	"holdfast/job/collect"
)

// Schema is the JSON schema of configuration files, for editors that complete them, and for the reference: each key has
// in description what it means, in title how its value is written, and in default what the code has without it.
func Schema() []byte {
	s := structSchema(&Config{})
	s.Version = jsonschema.Version
	s.Title = "Holdfast"
	s.Required = []string{"jobs"}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // the schema is made of our own types alone
	}
	return append(b, '\n')
}

func mapSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return words("a time: 120s, 5m, 1h30m, 7d")
	case reflect.TypeFor[Bytes]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{words("a size: 20GiB, 500MB"),
			{Type: "integer"}}}
	case reflect.TypeFor[secret.Text]():
		return words("a secret: better ${NAME}, from the environment, than the text itself")
	case reflect.TypeFor[jobList]():
		return namedSchema(jobSchema())
	}
	return nil
}

// words is a text that is written as the title says.
func words(title string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Title: title} }

// namedSchema is a mapping from names to one kind of value.
func namedSchema(value *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object",
		PropertyNames:        &jsonschema.Schema{Pattern: identifier.Pattern.String()},
		AdditionalProperties: value}
}

// oneSchema is a mapping with exactly one of the kinds, and the properties besides.
func oneSchema(kinds, besides map[string]*jsonschema.Schema) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(),
		AdditionalProperties: jsonschema.FalseSchema}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		s.Properties.Set(name, kinds[name])
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{name}})
	}
	for _, name := range slices.Sorted(maps.Keys(besides)) {
		s.Properties.Set(name, besides[name])
	}
	return s
}

func structSchema(v any) *jsonschema.Schema { return reflected(v, mapSchema) }

// reflected is the schema of a struct, with the texts and the defaults of its keys; mapped has those of some types.
func reflected(v any, mapped func(reflect.Type) *jsonschema.Schema) *jsonschema.Schema {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Mapper: mapped,
		LookupComment: func(t reflect.Type, field string) string { return keyText(t, field) },
		Namer:         func(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }} // else one Config is taken for another
	s := r.Reflect(v)
	s.Version = ""
	fillDefaults(s, reflect.ValueOf(v))
	return s
}

// fillDefaults puts what WithDefaults fills in into the schema of a configuration.
func fillDefaults(s *jsonschema.Schema, v reflect.Value) {
	if m := v.MethodByName("WithDefaults"); m.IsValid() {
		v = m.Call(nil)[0]
	}
	if v = reflect.Indirect(v); v.Kind() != reflect.Struct {
		return
	}
	for f, field := range v.Fields() {
		p, ok := s.Properties.Get(f.Tag.Get("yaml"))
		if !ok {
			continue
		}
		given := field.Kind() == reflect.Pointer && !field.IsNil()
		if field.Kind() == reflect.Pointer && field.IsNil() {
			field = reflect.New(field.Type().Elem())
		}
		field = reflect.Indirect(field)
		switch {
		case field.Kind() == reflect.Struct && p.Properties != nil:
			fillDefaults(p, field)
		case field.Kind() == reflect.Slice && p.Items != nil && p.Items.Properties != nil:
			item := field.Type().Elem()
			if item.Kind() == reflect.Pointer {
				item = item.Elem()
			}
			fillDefaults(p.Items, reflect.New(item))
		case given || !field.IsZero():
			p.Default = written(field.Interface())
		}
	}
}

// written is a value as a configuration has it, nil for what is none of one word.
func written(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return shortTime(v)
	case Bytes:
		return v.String()
	case string, bool, int, int64, uint64, float64:
		return v
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.String {
		return r.String()
	}
	return nil
}

// shortTime is a time without what is nought in it: 1h, 90d.
func shortTime(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	for _, end := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, end) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// put replaces what a key may be, which means what it did.
func put(s *jsonschema.Schema, key string, value *jsonschema.Schema) {
	made := *value
	if old, ok := s.Properties.Get(key); ok {
		made.Description = old.Description
	}
	s.Properties.Set(key, &made)
}

func kindSchemas[T any](kinds []kind[T]) map[string]*jsonschema.Schema {
	out := map[string]*jsonschema.Schema{}
	for _, k := range kinds {
		out[k.name] = structSchema(k.config)
	}
	return out
}

func jobSchema() *jsonschema.Schema {
	besides := map[string]*jsonschema.Schema{}
	terms := structSchema(&terms{})
	for p := terms.Properties.Oldest(); p != nil; p = p.Next() {
		besides[p.Key] = p.Value
	}
	besides["policy"].Enum = []any{string(collect.Hold), string(collect.Expire)}
	work := structSchema(&collectConfig{})
	work.Required = []string{"source", "sinks"}
	put(work, "source", oneSchema(kindSchemas(sources), nil))
	put(work, "sinks", namedSchema(oneSchema(kindSchemas(sinks), besides)))
	further, _ := work.Properties.Get("sinks")
	return oneSchema(map[string]*jsonschema.Schema{"collect": work, "stream": streamSchema(further),
		CrawlKind: crawlSchema(), SuperviseKind: structSchema(&superviseConfig{}), TransferKind: transferSchema()}, nil)
}

func crawlSchema() *jsonschema.Schema {
	s := structSchema(&crawlConfig{})
	s.AnyOf = []*jsonschema.Schema{{Required: []string{"contact"}}, {Required: []string{"user_agent"}}}
	return s
}

func transferSchema() *jsonschema.Schema {
	s := structSchema(&transferConfig{})
	s.Required = []string{"from", "to"}
	place := words("[user@]host:directory, or a directory")
	put(s, "to", &jsonschema.Schema{OneOf: []*jsonschema.Schema{place,
		namedSchema(&jsonschema.Schema{OneOf: []*jsonschema.Schema{place, oneSchema(kindSchemas(destinations), nil)}})}})
	return s
}

func streamSchema(sinks *jsonschema.Schema) *jsonschema.Schema {
	s := structSchema(&streamConfig{})
	put(s, "broker", oneSchema(map[string]*jsonschema.Schema{embeddedBroker: structSchema(&embedded{}),
		"nats": structSchema(&nats.BrokerConfig{}), "redis": structSchema(&redis.BrokerConfig{})}, nil))
	put(s, "database", oneSchema(map[string]*jsonschema.Schema{"influxdb": structSchema(&influxPlace{}),
		"postgres": structSchema(&postgresPlace{}), "sqlite": structSchema(&sqlitePlace{})}, nil))
	if in, ok := s.Properties.Get("ingester"); ok {
		put(in, "sinks", sinks)
	}
	for _, role := range roles {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{role}})
	}
	return s
}
