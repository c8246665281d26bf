package app

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/invopop/jsonschema"

	"holdfast/base/secret"
	"holdfast/connector/nats"
	"holdfast/connector/redis"
	"holdfast/job/collect"
)

// Schema is the JSON schema of configuration files, for editors that complete them.
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
		return words("a secret; better ${NAME}, from the environment, than the text itself")
	case reflect.TypeFor[jobList]():
		return namedSchema(jobSchema())
	}
	return nil
}

func words(description string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Description: description}
}

// namedSchema is a mapping from names to one kind of value.
func namedSchema(value *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object",
		PropertyNames:        &jsonschema.Schema{Pattern: jobName.String()},
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

func structSchema(v any) *jsonschema.Schema {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Mapper: mapSchema}
	s := r.Reflect(v)
	s.Version = ""
	return s
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
	work.Properties.Set("source", oneSchema(kindSchemas(sources), nil))
	work.Properties.Set("sinks", namedSchema(oneSchema(kindSchemas(sinks), besides)))
	further, _ := work.Properties.Get("sinks")
	return oneSchema(map[string]*jsonschema.Schema{"collect": work, "stream": streamSchema(further),
		crawlKind: crawlSchema(), superviseKind: structSchema(&superviseConfig{}), transferKind: transferSchema()}, nil)
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
	s.Properties.Set("to", &jsonschema.Schema{OneOf: []*jsonschema.Schema{place,
		namedSchema(&jsonschema.Schema{OneOf: []*jsonschema.Schema{place, oneSchema(kindSchemas(destinations), nil)}})}})
	return s
}

func streamSchema(sinks *jsonschema.Schema) *jsonschema.Schema {
	s := structSchema(&streamConfig{})
	s.Properties.Set("broker", oneSchema(map[string]*jsonschema.Schema{embeddedBroker: structSchema(&embedded{}),
		"nats": structSchema(&nats.BrokerConfig{}), "redis": structSchema(&redis.BrokerConfig{})}, nil))
	s.Properties.Set("database", oneSchema(map[string]*jsonschema.Schema{"influxdb": structSchema(&influxPlace{}),
		"postgres": structSchema(&postgresPlace{}), "sqlite": structSchema(&sqlitePlace{})}, nil))
	if in, ok := s.Properties.Get("ingester"); ok {
		in.Properties.Set("sinks", sinks)
	}
	for _, role := range roles {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{role}})
	}
	return s
}
