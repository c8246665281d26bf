package nats

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"holdfast/base/record"
)

// member appends one value of a column; a reason that is not empty says why JSON can't hold it.
type member func(dst []byte, row int) (out []byte, reason string)

// objects makes JSON of the rows of a batch.
type objects struct {
	names   [][]byte // `"name":`, from the second on with a comma in front
	columns []arrow.Array
	members []member
}

func newObjects(b arrow.RecordBatch) *objects {
	o := &objects{columns: b.Columns()}
	for i, f := range b.Schema().Fields() {
		name, _ := jsontext.AppendQuote([]byte(","), f.Name)
		if i == 0 {
			name = name[1:]
		}
		o.names = append(o.names, append(name, ':'))
		o.members = append(o.members, memberOf(f.Name, b.Column(i)))
	}
	return o
}

// row appends a row as an object.
func (o *objects) row(dst []byte, row int) (out []byte, reason string) {
	dst = append(dst, '{')
	for i, m := range o.members {
		dst = append(dst, o.names[i]...)
		if o.columns[i].IsNull(row) {
			dst = append(dst, "null"...)
		} else if dst, reason = m(dst, row); reason != "" {
			return nil, reason
		}
	}
	return append(dst, '}'), ""
}

// storable refuses a schema with a column that has no form in JSON here.
func storable(schema record.Schema) error {
	for _, f := range schema.Fields() {
		if b := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0); memberOf(f.Name, b) == nil {
			return fmt.Errorf("column %s is %s, which this sink can't store", f.Name, f.Type)
		}
	}
	return nil
}

// memberOf returns the writer of a column, nil for a type that there is none of.
func memberOf(name string, col arrow.Array) member {
	switch c := col.(type) {
	case *array.Boolean:
		return func(dst []byte, i int) ([]byte, string) { return strconv.AppendBool(dst, c.Value(i)), "" }
	case *array.Int8:
		return integers(c.Int8Values())
	case *array.Int16:
		return integers(c.Int16Values())
	case *array.Int32:
		return integers(c.Int32Values())
	case *array.Int64:
		return integers(c.Int64Values())
	case *array.Uint8:
		return naturals(c.Uint8Values())
	case *array.Uint16:
		return naturals(c.Uint16Values())
	case *array.Uint32:
		return naturals(c.Uint32Values())
	case *array.Uint64:
		return naturals(c.Uint64Values())
	case *array.Float32:
		return floats(name, 32, func(i int) float64 { return float64(c.Value(i)) })
	case *array.Float64:
		return floats(name, 64, c.Value)
	case *array.Timestamp:
		return times(name, c)
	case *array.String:
		return texts(name, c.Value)
	case *array.LargeString:
		return texts(name, c.Value)
	case *array.Binary:
		return binaries(c.Value)
	case *array.LargeBinary:
		return binaries(c.Value)
	}
	return nil
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64](v []T) member {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendInt(dst, int64(v[i]), 10), "" }
}

func naturals[T ~uint8 | ~uint16 | ~uint32 | ~uint64](v []T) member {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendUint(dst, uint64(v[i]), 10), "" }
}

func floats(name string, bits int, get func(int) float64) member {
	return func(dst []byte, i int) ([]byte, string) {
		v := get(i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Sprintf("%s is %v, which JSON can't hold", name, v)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, bits), ""
	}
}

// The Unix seconds of the years 0 to 9999, which RFC 3339 can hold.
const (
	firstSecond = -62167219200
	lastSecond  = 253402300799
)

func times(name string, c *array.Timestamp) member {
	v, unit := c.TimestampValues(), c.DataType().(*arrow.TimestampType).Unit
	return func(dst []byte, i int) ([]byte, string) {
		per := int64(time.Second / unit.Multiplier())
		seconds, rest := int64(v[i])/per, int64(v[i])%per
		if seconds <= firstSecond || seconds > lastSecond {
			return nil, fmt.Sprintf("%s %d (Unix, in %s) is outside of the years 0 to 9999", name, v[i], unit)
		}
		t := time.Unix(seconds, rest*int64(unit.Multiplier())).UTC()
		return append(t.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"'), ""
	}
}

func texts(name string, get func(int) string) member {
	return func(dst []byte, i int) ([]byte, string) {
		dst, err := jsontext.AppendQuote(dst, get(i))
		if err != nil {
			return nil, name + " is not UTF-8"
		}
		return dst, ""
	}
}

func binaries(get func(int) []byte) member {
	return func(dst []byte, i int) ([]byte, string) {
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), get(i)), '"'), ""
	}
}
