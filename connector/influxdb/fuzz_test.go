package influxdb

import (
	"math"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"holdfast/base/record"
)

// odd is a row of every kind of value.
type odd struct {
	measurement, tag, text string
	whole                  int64
	natural                uint64
	real                   float64
	yes                    bool
	at                     int64 // nanoseconds
}

var oddSchema = record.NewSchema([]arrow.Field{
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ns}, {Name: "measurement", Type: arrow.BinaryTypes.String},
	{Name: "a tag,=", Type: arrow.BinaryTypes.String}, {Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "whole", Type: arrow.PrimitiveTypes.Int64}, {Name: "natural", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "real, =", Type: arrow.PrimitiveTypes.Float64}, {Name: "yes", Type: arrow.FixedWidthTypes.Boolean},
}, "", "at")

func oddBatch(rows ...odd) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, oddSchema.Schema)
	for _, r := range rows {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at))
		b.Field(1).(*array.StringBuilder).Append(r.measurement)
		b.Field(2).(*array.StringBuilder).Append(r.tag)
		b.Field(3).(*array.StringBuilder).Append(r.text)
		b.Field(4).(*array.Int64Builder).Append(r.whole)
		b.Field(5).(*array.Uint64Builder).Append(r.natural)
		b.Field(6).(*array.Float64Builder).Append(r.real)
		b.Field(7).(*array.BooleanBuilder).Append(r.yes)
	}
	return b.NewRecordBatch()
}

func oddConfig() Config {
	return Config{Database: "d", MeasurementFrom: "measurement", Tags: []string{"a tag,="}, Unique: true}.WithDefaults()
}

// FuzzLine: a row that is not refused reads back, by the library's own decoder, as what it was, and so does
// its neighbour.
func FuzzLine(f *testing.F) {
	f.Add("m", "t", "text", int64(1), uint64(2), 3.5, true, int64(4))
	f.Add("a, b=c", `back\slash`, "quote \" \\ end\\", int64(math.MinInt64), uint64(math.MaxUint64), 0.1, false, int64(-1))
	f.Add("#remark", "", "line\nreturn\rtab\tnul\x00", int64(0), uint64(0), math.Inf(1), false, int64(math.MinInt64))
	f.Add(`m\`, "t ", `\n"\t`, int64(0), uint64(0), math.SmallestNonzeroFloat64, false, int64(math.MaxInt64))
	f.Add("0", "0", "0", int64(91), uint64(15), 3.5, true, int64(-16))
	f.Fuzz(func(t *testing.T, measurement, tag, text string, whole int64, natural uint64, real float64, yes bool,
		at int64) {
		row := odd{measurement, tag, text, whole, natural, real, yes, at}
		next := odd{"next", "", "one", 1, 2, 3, true, 4}
		c := oddConfig()
		m, err := c.mappingOf(oddSchema)
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		want := []odd{row, next}
		refused, err := c.writer(m, oddBatch(want...)).encode(2, nil, func(l lines) error {
			all = append(all, l.text...)
			return nil
		})
		if err != nil || len(refused) > 0 && refused[len(refused)-1].Row != 0 {
			t.Fatalf("refused %v %v, want the first at most", refused, err)
		}
		got := decode(t, all)
		want = want[len(refused):]
		if len(got) != len(want) {
			t.Fatalf("got %d points, want %d (refused %v):\n%q", len(got), len(want), refused, all)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("got  %+v\nwant %+v\n%q", got[i], want[i], all)
			}
		}
	})
}

// FuzzFloat: floats are written as strconv writes them.
func FuzzFloat(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 0.1, -0.001, 0.002, 0.0005, 0.0004999, 1.005, -40, 99.95, 999999.999,
		-999999.999, 999999.9995, 1e6, 1e6 + 0.1, 123.4567, 1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, 1.0 / 3} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		// And what is near to it with few decimals.
		for _, v := range []float64{v, math.Round(v*1000) / 1000, math.Round(v*10) / 10, math.Mod(v, 1e6)} {
			got, want := string(appendFloat(nil, v)), strconv.FormatFloat(v, 'g', -1, 64)
			if got != want {
				t.Errorf("%b: got %s, want %s", v, got, want)
			}
		}
	})
}

// decode reads points back.
func decode(t *testing.T, text []byte) (out []odd) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("decode: %v\n%q", err, text)
		}
	}
	dec := lineprotocol.NewDecoderWithBytes(text)
	for dec.Next() {
		var o odd
		name, err := dec.Measurement()
		must(err)
		o.measurement = string(name)
		for {
			key, value, err := dec.NextTag()
			must(err)
			if key == nil {
				break
			}
			o.tag = string(value)
		}
		for {
			key, v, err := dec.NextField()
			must(err)
			if key == nil {
				break
			}
			switch string(key) {
			case "text":
				o.text = v.StringV()
			case "whole":
				o.whole = v.IntV()
			case "natural":
				o.natural = uint64(v.IntV())
			case "real, =":
				o.real = v.FloatV()
			case "yes":
				o.yes = v.BoolV()
			}
		}
		number, err := dec.TimeBytes()
		must(err)
		at, err := lineprotocol.NewValueFromBytes(lineprotocol.Int, number)
		must(err)
		o.at = at.IntV()
		out = append(out, o)
	}
	return out
}
