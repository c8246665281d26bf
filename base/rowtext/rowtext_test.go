package rowtext

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
)

// one is a batch of one column and one row; append appends it.
func one(typ arrow.DataType, append func(array.Builder)) arrow.RecordBatch {
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	append(b)
	s := arrow.NewSchema([]arrow.Field{{Name: "a", Type: typ, Nullable: true}}, nil)
	return array.NewRecordBatch(s, []arrow.Array{b.NewArray()}, 1)
}

func text(v string) arrow.RecordBatch {
	return one(arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append(v) })
}

func number(v float64) arrow.RecordBatch {
	return one(arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(v) })
}

func at(v int64, unit arrow.TimeUnit) arrow.RecordBatch {
	return one(&arrow.TimestampType{Unit: unit}, func(b array.Builder) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(v))
	})
}

func null(b array.Builder) { b.AppendNull() }

func TestValues(t *testing.T) {
	for _, c := range []struct {
		rows      arrow.RecordBatch
		json, csv string
		near      [2]string // in JSON and CSV, where there is no exact text
	}{
		{rows: number(0.1), json: `{"a":0.1}`, csv: "0.1\n"},
		{rows: number(math.NaN()), near: [2]string{`{"a":null}`, "NaN\n"}},
		{rows: number(math.Inf(-1)), near: [2]string{`{"a":null}`, "-Inf\n"}},
		{rows: text("a \"b\", c\n"), json: `{"a":"a \"b\", c\n"}`, csv: "\"a \"\"b\"\", c\n\"\n"},
		{rows: text(""), json: `{"a":""}`, csv: "\"\"\n"},
		{rows: text("\xff<"), near: [2]string{"{\"a\":\"\uFFFD<\"}", "\uFFFD<\n"}},
		{rows: one(arrow.BinaryTypes.String, null), json: `{"a":null}`, csv: "\n"},
		{rows: at(-1, arrow.Nanosecond), json: `{"a":"1969-12-31T23:59:59.999999999Z"}`,
			csv: "1969-12-31T23:59:59.999999999Z\n"},
		{rows: at(lastSecond, arrow.Second), json: `{"a":"9999-12-31T23:59:59Z"}`, csv: "9999-12-31T23:59:59Z\n"},
		{rows: at(lastSecond+1, arrow.Second), near: [2]string{`{"a":"10000-01-01T00:00:00Z"}`,
			"10000-01-01T00:00:00Z\n"}},
	} {
		want := [2]string{c.json, c.csv}
		for i, write := range []func(arrow.RecordBatch, Mode) *Rows{Objects, Records} {
			got, reason := write(c.rows, Exact).Append(nil, 0)
			if string(got) != want[i] || (reason == "") == (want[i] == "") {
				t.Errorf("%s: got %q and the reason %q, want %q", c.rows.Column(0), got, reason, want[i])
			}
			if want[i] == "" && !strings.HasPrefix(reason, "a ") {
				t.Errorf("%s: got the reason %q, want the column named", c.rows.Column(0), reason)
			}
			near := c.near[i]
			if near == "" {
				near = want[i]
			}
			if got, reason = write(c.rows, Near).Append(nil, 0); string(got) != near || reason != "" {
				t.Errorf("near %s: got %q and the reason %q, want %q", c.rows.Column(0), got, reason, near)
			}
		}
	}
}

// TestTyped: a float is one for every reader, and all else is as it is exactly.
func TestTyped(t *testing.T) {
	for want, rows := range map[string]arrow.RecordBatch{"40.0": number(40), "-0.0": number(math.Copysign(0, -1)),
		"0.1": number(0.1), "1e+21": number(1e21), "1e+06": number(1e6), "2.0": one(arrow.PrimitiveTypes.Float32,
			func(b array.Builder) { b.(*array.Float32Builder).Append(2) }),
		"3": one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(3) }),
		"":  number(math.NaN())} {
		json, csv := `{"a":`+want+"}", want+"\n"
		if want == "" {
			json, csv = "", ""
		}
		got, reason := Objects(rows, Typed).Append(nil, 0)
		if string(got) != json || (reason == "") != (want != "") {
			t.Errorf("got %s and the reason %q, want %s", got, reason, json)
		}
		if got, _ = Records(rows, Typed).Append(nil, 0); want != "" && string(got) != csv {
			t.Errorf("got %s, want %s", got, csv)
		}
	}
}

// TestTimesInALayout: in UTC, and quoted whatever the layout has in it.
func TestTimesInALayout(t *testing.T) {
	rows := at(1695108600, arrow.Second)
	for layout, want := range map[string]string{"2006-01-02 15:04": `{"a":"2023-09-19 07:30"}`,
		`Jan "2" MST`: `{"a":"Sep \"19\" UTC"}`} {
		if got, reason := ObjectsAt(rows, Exact, layout).Append(nil, 0); string(got) != want || reason != "" {
			t.Errorf("got %s %s, want %s", got, reason, want)
		}
	}
	if got, reason := ObjectsAt(at(lastSecond+1, arrow.Second), Exact, "2006").Append(nil, 0); reason == "" {
		t.Errorf("a time beyond the year 9999 became %s", got)
	}
}

// TestARowForAPersonIsReadBack: whatever its values are, the object makes the same row; or none, where a number is
// not finite, but never a row with null in its place.
func TestARowForAPersonIsReadBack(t *testing.T) {
	for _, rows := range []arrow.RecordBatch{number(0.1), number(math.NaN()), number(math.Inf(1)), number(math.Inf(-1)),
		text("null"), text("a \"b\" <c>\n"), text(""), at(-1, arrow.Nanosecond), at(1, arrow.Second),
		one(arrow.BinaryTypes.String, null), one(arrow.PrimitiveTypes.Float32, null),
		one(arrow.PrimitiveTypes.Float32, func(b array.Builder) { b.(*array.Float32Builder).Append(float32(math.Inf(1))) }),
		one(arrow.PrimitiveTypes.Uint64, func(b array.Builder) { b.(*array.Uint64Builder).Append(math.MaxUint64) }),
		one(arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0, 0xff}) }),
		one(arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }),
	} {
		object, err := Object(rows)
		if err != nil || !json.Valid(object) {
			t.Errorf("%s: got %s (%v), want JSON", rows.Column(0), object, err)
			continue
		}
		back, err := record.ReadRow(record.Schema{Schema: rows.Schema(), Key: -1, Time: -1}, object, nil)
		if err != nil && strings.Contains(err.Error(), "column a is not a finite number") {
			continue
		}
		if err != nil || !array.Equal(back.Column(0), rows.Column(0)) {
			t.Errorf("%s became %v of %s (%v)", rows.Column(0), back, object, err)
		}
	}
}

// FuzzTexts: what is written is read back by others as it was.
func FuzzTexts(f *testing.F) {
	f.Add("a", " b ")
	f.Add("\"", "\r\n,\\")
	f.Fuzz(func(t *testing.T, name, value string) {
		b := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: name, Type: arrow.BinaryTypes.String}}, nil),
			text(value).Columns(), 1)
		clean := strings.ToValidUTF8(value, "\uFFFD")
		object, _ := Objects(b, Near).Append(nil, 0)
		var m map[string]string
		if err := json.Unmarshal(object, &m); err != nil || len(m) != 1 {
			t.Fatalf("%q: %v %v", object, m, err)
		}
		for _, got := range m {
			if strings.Count(got, "\uFFFD") == 0 && got != clean {
				t.Errorf("json: got %q, want %q", got, clean)
			}
		}
		record, _ := Records(b, Near).Append(Header(b.Schema()), 0)
		lines, err := csv.NewReader(strings.NewReader(string(record))).ReadAll()
		if err != nil || len(lines) != 2 || len(lines[1]) != 1 {
			t.Fatalf("%q: %v %v", record, lines, err)
		}
		if want := strings.ReplaceAll(clean, "\r\n", "\n"); lines[1][0] != want { // csv.Reader does that
			t.Errorf("csv: got %q, want %q", lines[1][0], want)
		}
	})
}
