package rowkey

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, ""},
		{Spec{Key: []string{"a"}}, ""},
		{Spec{Key: []string{"a", "b"}, Replace: "revision"}, ""},
		{Spec{Key: []string{"a", ""}}, "key[1]: is empty"},
		{Spec{Key: []string{"a", "b", "a"}}, `key[2]: "a" is there twice`},
		{Spec{Replace: "revision"}, "replace: wants key"},
	} {
		err := errors.Join(c.spec.Validate()...)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.spec, err, c.want)
		}
	}
}

func schema(key, time string) record.Schema {
	return record.NewSchema([]arrow.Field{
		{Name: "zip", Type: arrow.BinaryTypes.String},
		{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "temp", Type: arrow.PrimitiveTypes.Float64},
		{Name: "revision", Type: arrow.PrimitiveTypes.Uint16},
	}, key, time)
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name     string
		spec     Spec
		schema   record.Schema
		columns  []int
		revision int
		want     string
	}{
		{"nothing", Spec{}, schema("", "time"), nil, -1, ""},
		{"the schema's", Spec{}, schema("zip", "time"), []int{0}, -1, ""},
		{"the schema's, named", Spec{Key: []string{"zip"}}, schema("zip", ""), []int{0}, -1, ""},
		{"several", Spec{Key: []string{"state", "zip"}}, schema("", ""), []int{1, 0}, -1, ""},
		{"the time first", Spec{Key: []string{"zip", "state", "time"}}, schema("", "time"), []int{2, 0, 1}, -1, ""},
		{"no event time", Spec{Key: []string{"zip", "time"}}, schema("", ""), []int{0, 2}, -1, ""},
		{"replacing", Spec{[]string{"zip", "time"}, "revision"}, schema("", "time"), []int{2, 0}, 4, ""},
		{"not there", Spec{Key: []string{"zip", "town"}}, schema("", "time"), nil, 0,
			"key: the rows have no column town"},
		{"another than the schema's", Spec{Key: []string{"state"}}, schema("zip", ""), nil, 0,
			"key: the rows have a key of their own, zip"},
		{"more than the schema's", Spec{Key: []string{"zip", "state"}}, schema("zip", ""), nil, 0,
			"key: the rows have a key of their own, zip"},
		{"no such revision", Spec{[]string{"zip", "time"}, "version"}, schema("", "time"), nil, 0,
			"replace: the rows have no column version"},
		{"no integer", Spec{[]string{"zip", "time"}, "temp"}, schema("", "time"), nil, 0,
			"replace: column temp is float64"},
		{"no time to replace by", Spec{[]string{"zip", "time"}, "revision"}, schema("", ""), nil, 0,
			"replace: the rows have no event time"},
		{"the time not in the key", Spec{[]string{"zip"}, "revision"}, schema("", "time"), nil, 0,
			"replace: the event time time is not in the key"},
	} {
		k, err := c.spec.Of(c.schema)
		switch {
		case c.want != "":
			if !fault.Is(err, fault.Permanent) || !strings.HasPrefix(err.Error(), c.want) || fault.HintOf(err) == "" {
				t.Errorf("%s: got %v (%v, hint %q), want permanent with %q", c.name, err, fault.KindOf(err),
					fault.HintOf(err), c.want)
			}
		case err != nil || !slices.Equal(k.Columns, c.columns) || k.Revision != c.revision:
			t.Errorf("%s: got %v, revision %d, %v", c.name, k.Columns, k.Revision, err)
		case k.Any() != (len(c.columns) > 0) || k.Replaces() != (c.revision >= 0):
			t.Errorf("%s: any %v, replaces %v", c.name, k.Any(), k.Replaces())
		}
	}
}

func TestReasons(t *testing.T) {
	one, _ := Spec{}.Of(schema("zip", ""))
	all, _ := Spec{[]string{"zip", "time"}, "revision"}.Of(schema("", "time"))
	for got, want := range map[string]string{
		one.Lacks(0): "zip is missing, and it is the key",
		one.Lacks(1): "",
		all.Lacks(0): "zip is missing, and it is part of the key",
		all.Lacks(4): "revision is missing, and it says which rows stand",
		all.Differs([]string{"temp", "state"}): "the table holds another row with the same time, zip; " +
			"it differs in temp, state",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
