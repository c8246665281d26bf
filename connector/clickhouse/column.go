package clickhouse

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// nativeColumn is the rows of one Arrow column on their way into a block.
type nativeColumn struct {
	column
	values arrow.Array
	rows   []int32 // those that are sent; nil for all
}

var _ proto.ColInput = nativeColumn{}

// Type implements proto.ColInput.
func (c nativeColumn) Type() proto.ColumnType { return proto.ColumnType(c.kind.sent) }

// Rows implements proto.ColInput.
func (c nativeColumn) Rows() int {
	if c.rows != nil {
		return len(c.rows)
	}
	return c.values.Len()
}

// WriteColumn implements proto.ColInput.
func (c nativeColumn) WriteColumn(w *proto.Writer) { w.ChainBuffer(c.EncodeColumn) }

// EncodeColumn implements proto.ColInput. The values have passed check.
func (c nativeColumn) EncodeColumn(b *proto.Buffer) {
	if c.kind.nullable && !c.kind.dict {
		c.each(func(i int) { b.PutBool(c.values.IsNull(i)) })
	}
	if v := integersOf(c.values); v != nil {
		v.put(b, c.rows, c.kind.bytes)
		return
	}
	switch v := c.values.(type) {
	case *array.Float32:
		putFloats(b, v.Float32Values(), c.rows, c.kind.bytes)
	case *array.Float64:
		putFloats(b, v.Float64Values(), c.rows, c.kind.bytes)
	case *array.Boolean:
		c.each(func(i int) { b.PutBool(v.Value(i)) })
	case *array.Timestamp:
		putTimes(b, v.TimestampValues(), c.rows, c.column)
	case *array.String:
		c.putTexts(b, v.Value)
	case *array.LargeString:
		c.putTexts(b, v.Value)
	case *array.Binary:
		c.putTexts(b, v.ValueString)
	case *array.LargeBinary:
		c.putTexts(b, v.ValueString)
	}
}

func (c nativeColumn) each(f func(i int)) {
	if c.rows == nil {
		for i := range c.values.Len() {
			f(i)
		}
		return
	}
	for _, i := range c.rows {
		f(int(i))
	}
}

func (c nativeColumn) putTexts(b *proto.Buffer, at func(int) string) {
	if c.kind.dict {
		c.putDictionary(b, at)
		return
	}
	nulls := c.values.NullN() > 0
	c.each(func(i int) {
		s := ""
		if !nulls || c.values.IsValid(i) {
			s = at(i)
		}
		if c.kind.family == text {
			b.PutString(s)
			return
		}
		b.Buf = append(b.Buf, s...)
		for range c.kind.bytes - len(s) {
			b.Buf = append(b.Buf, 0)
		}
	})
}

// putDictionary writes texts as LowCardinality: the different ones, and for each row the index of
// its own. Index 0 of a Nullable one is null.
func (c nativeColumn) putDictionary(b *proto.Buffer, at func(int) string) {
	var words []string
	index := map[string]uint32{}
	if c.kind.nullable {
		words = append(words, "")
	}
	rows := make([]uint32, 0, c.Rows())
	c.each(func(i int) {
		if c.kind.nullable && c.values.IsNull(i) {
			rows = append(rows, 0)
			return
		}
		w := at(i)
		n, ok := index[w]
		if !ok {
			n = uint32(len(words))
			index[w] = n
			words = append(words, w)
		}
		rows = append(rows, n)
	})
	const (
		sharedDictionaries = 1      // the version of the whole
		uint32Indexes      = 2      // their type
		ownKeys            = 1 << 9 // the dictionary is here
		newDictionary      = 1 << 10
	)
	b.PutUInt64(sharedDictionaries)
	b.PutUInt64(uint32Indexes | ownKeys | newDictionary)
	b.PutUInt64(uint64(len(words)))
	for _, w := range words {
		b.PutString(w)
	}
	b.PutUInt64(uint64(len(rows)))
	integersAs[uint32](rows).put(b, nil, 4)
}

type integer interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// room grows b by n bytes and returns them.
func room(b *proto.Buffer, n int) []byte {
	at := len(b.Buf)
	b.Buf = slices.Grow(b.Buf, n)[:at+n]
	return b.Buf[at:]
}

// picked returns the values of the rows, in order; without rows it is all of them, not copied.
func picked[S any](v []S, rows []int32) []S {
	if rows == nil {
		return v
	}
	out := make([]S, len(rows))
	for i, r := range rows {
		out[i] = v[r]
	}
	return out
}

// integers are the values of a column of integers, whatever their width.
type integers interface {
	put(b *proto.Buffer, rows []int32, size int)
	check(c nativeColumn, refuse func(row int, reason string))
}

type integersAs[S integer] []S

// integersOf returns nil if the column is not one of integers.
func integersOf(a arrow.Array) integers {
	switch v := a.(type) {
	case *array.Int8:
		return integersAs[int8](v.Int8Values())
	case *array.Int16:
		return integersAs[int16](v.Int16Values())
	case *array.Int32:
		return integersAs[int32](v.Int32Values())
	case *array.Int64:
		return integersAs[int64](v.Int64Values())
	case *array.Uint8:
		return integersAs[uint8](v.Uint8Values())
	case *array.Uint16:
		return integersAs[uint16](v.Uint16Values())
	case *array.Uint32:
		return integersAs[uint32](v.Uint32Values())
	case *array.Uint64:
		return integersAs[uint64](v.Uint64Values())
	}
	return nil
}

func (v integersAs[S]) put(b *proto.Buffer, rows []int32, size int) {
	v = picked(v, rows)
	out := room(b, len(v)*size)
	switch size {
	case 1:
		for i, x := range v {
			out[i] = byte(x)
		}
	case 2:
		for i, x := range v {
			binary.LittleEndian.PutUint16(out[2*i:], uint16(x))
		}
	case 4:
		for i, x := range v {
			binary.LittleEndian.PutUint32(out[4*i:], uint32(x))
		}
	case 8:
		for i, x := range v {
			binary.LittleEndian.PutUint64(out[8*i:], uint64(x))
		}
	}
}

func putFloats[S float32 | float64](b *proto.Buffer, v []S, rows []int32, size int) {
	v = picked(v, rows)
	out := room(b, len(v)*size)
	for i, x := range v {
		if size == 4 {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(float32(x)))
		} else {
			binary.LittleEndian.PutUint64(out[8*i:], math.Float64bits(float64(x)))
		}
	}
}

func putTimes(b *proto.Buffer, v []arrow.Timestamp, rows []int32, c column) {
	v = picked(v, rows)
	out := room(b, len(v)*c.kind.bytes)
	for i, x := range v {
		t, _ := c.ticks(int64(x))
		if c.kind.bytes == 4 {
			binary.LittleEndian.PutUint32(out[4*i:], uint32(t))
		} else {
			binary.LittleEndian.PutUint64(out[8*i:], uint64(t))
		}
	}
}

// ticks converts a timestamp of the column's unit into what the column counts; what is finer than
// the column is cut off downwards. ok is false if the column can't hold it.
func (c column) ticks(v int64) (t int64, ok bool) {
	have, want := 3*int(c.unit), c.kind.scale
	for ; have > want; have-- {
		v = floorDiv(v, 10)
	}
	for ; have < want; have++ {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, false
		}
		v *= 10
	}
	if c.kind.family == dateTime {
		return v, v >= 0 && v <= math.MaxUint32
	}
	per := int64(math.Pow10(want))
	s := floorDiv(v, per)
	return v, s >= minDateTime64 && s <= maxDateTime64
}

// DateTime64 holds the years 1900 to 2299; with nanoseconds its 64 bits end in 2262.
const (
	minDateTime64 = -2208988800
	maxDateTime64 = 10413791999
)

// seconds is what the column holds of a timestamp, in Unix seconds.
func (c column) seconds(v int64) int64 {
	t, _ := c.ticks(v)
	return floorDiv(t, int64(math.Pow10(c.kind.scale)))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// check calls refuse for every row whose value the column can't hold.
func (c nativeColumn) check(refuse func(row int, reason string)) {
	if c.values.NullN() > 0 && !c.kind.nullable {
		for i := range c.values.Len() {
			if c.values.IsNull(i) {
				refuse(i, c.name+": is null, and the column is not Nullable")
			}
		}
	}
	if v := integersOf(c.values); v != nil {
		v.check(c, refuse)
		return
	}
	switch v := c.values.(type) {
	case *array.Float64:
		c.checkFloats(v.Float64Values(), refuse)
	case *array.Timestamp:
		for i, x := range v.TimestampValues() {
			if _, ok := c.ticks(int64(x)); !ok && v.IsValid(i) {
				refuse(i, fmt.Sprintf("%s: %s is outside %s", c.name, v.ValueStr(i), c.kind.sent))
			}
		}
	case *array.String:
		c.checkTexts(v.ValueLen, refuse)
	case *array.LargeString:
		c.checkTexts(func(i int) int { return len(v.Value(i)) }, refuse)
	case *array.Binary:
		c.checkTexts(v.ValueLen, refuse)
	case *array.LargeBinary:
		c.checkTexts(func(i int) int { return len(v.Value(i)) }, refuse)
	}
}

func (v integersAs[S]) check(c nativeColumn, refuse func(int, string)) {
	lo, hi := c.kind.bounds()
	if fits[S](lo, hi) {
		return
	}
	for i, x := range v {
		if (x < 0 && int64(x) < lo || x > 0 && uint64(x) > hi) && c.values.IsValid(i) {
			refuse(i, fmt.Sprintf("%s: %d is outside %s (%d to %d)", c.name, x, c.kind.sent, lo, hi))
		}
	}
}

// fits reports whether every S lies between lo and hi.
func fits[S integer](lo int64, hi uint64) bool {
	var zero S
	if ones := zero - 1; ones > 0 { // S has no sign
		return uint64(ones) <= hi
	}
	bits := uint(binary.Size(zero)) * 8
	return lo <= math.MinInt64>>(64-bits) && hi >= math.MaxInt64>>(64-bits)
}

func (c nativeColumn) checkFloats(v []float64, refuse func(int, string)) {
	if c.kind.bytes == 8 {
		return
	}
	for i, x := range v {
		if !math.IsInf(x, 0) && math.IsInf(float64(float32(x)), 0) && c.values.IsValid(i) {
			refuse(i, fmt.Sprintf("%s: %g is outside %s", c.name, x, c.kind.sent))
		}
	}
}

func (c nativeColumn) checkTexts(size func(int) int, refuse func(int, string)) {
	if c.kind.family != fixedText {
		return
	}
	for i := range c.values.Len() {
		if n := size(i); n > c.kind.bytes && c.values.IsValid(i) {
			refuse(i, fmt.Sprintf("%s: %d bytes do not fit %s", c.name, n, c.kind.sent))
		}
	}
}
