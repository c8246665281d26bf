// Package record holds the words for rows: the schema that says which column is the key and which
// the event time, the bytes of a batch of rows, and the token by which a delivery is known.
//
// A batch is an Apache Arrow record batch. Its bytes are a plain Arrow IPC stream (schema, one
// record batch, end mark), the whole in Snappy's block format, so that any Arrow library can read a
// block after any Snappy library. Arrow batches here are always built on Go's heap: nobody has to release them.
package record

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Metadata keys in an Arrow schema that name the two columns the kernel knows about.
const (
	metaKey  = "holdfast.key"
	metaTime = "holdfast.time"
)

// Schema is an Arrow schema with its key column and event-time column marked.
type Schema struct {
	*arrow.Schema
	Key  int // index of the column that identifies a row, -1 if rows have no key
	Time int // index of the event-time column (a timestamp), -1 if there is none
}

// NewSchema marks the columns named key and time ("" for none) in a schema of fields.
// It panics if a named column is missing: that is a mistake in a connector, not in data.
func NewSchema(fields []arrow.Field, key, time string) Schema {
	md := arrow.NewMetadata([]string{metaKey, metaTime}, []string{key, time})
	s, err := SchemaOf(arrow.NewSchema(fields, &md))
	if err != nil {
		panic(err)
	}
	return s
}

// SchemaOf reads the marks from an Arrow schema, for example one that came out of a block.
func SchemaOf(s *arrow.Schema) (Schema, error) {
	out := Schema{Schema: s, Key: -1, Time: -1}
	for meta, at := range map[string]*int{metaKey: &out.Key, metaTime: &out.Time} {
		name, ok := s.Metadata().GetValue(meta)
		if !ok || name == "" {
			continue
		}
		idx := s.FieldIndices(name)
		if len(idx) != 1 {
			return Schema{}, fmt.Errorf("schema names %q as %s, and has %d such columns",
				name, meta, len(idx))
		}
		*at = idx[0]
	}
	if out.Time >= 0 {
		if _, ok := s.Field(out.Time).Type.(*arrow.TimestampType); !ok {
			return Schema{}, fmt.Errorf("event-time column %q is %s, not a timestamp",
				s.Field(out.Time).Name, s.Field(out.Time).Type)
		}
	}
	return out, nil
}

// Keys returns the integer keys of b, in row order, without copying where the column is unsigned
// already. ok is false if the schema has no key column or its type is not an integer.
func Keys(s Schema, b arrow.RecordBatch) (keys []uint64, ok bool) {
	if s.Key < 0 {
		return nil, false
	}
	switch c := b.Column(s.Key).(type) {
	case *array.Uint64:
		return c.Uint64Values(), true
	case *array.Int64:
		keys = make([]uint64, c.Len())
		for i, v := range c.Int64Values() {
			if v < 0 {
				return nil, false
			}
			keys[i] = uint64(v)
		}
		return keys, true
	}
	return nil, false
}

// TextKeys returns how to read the key of a row of b where keys are text or bytes. ok is false if the
// schema has no key column or its type is another.
func TextKeys(s Schema, b arrow.RecordBatch) (key func(row int) []byte, ok bool) {
	if s.Key < 0 {
		return nil, false
	}
	switch c := b.Column(s.Key).(type) {
	case *array.String:
		return func(i int) []byte { return []byte(c.Value(i)) }, true
	case *array.LargeString:
		return func(i int) []byte { return []byte(c.Value(i)) }, true
	case *array.Binary:
		return c.Value, true
	}
	return nil, false
}

// TextKeyed reports whether rows of the schema are known by a key that is no integer.
func (s Schema) TextKeyed() bool {
	if s.Key < 0 {
		return false
	}
	switch s.Field(s.Key).Type.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY:
		return true
	}
	return false
}

// IntegerKeyed reports whether rows of the schema are known by an integer of 64 bits.
func (s Schema) IntegerKeyed() bool {
	if s.Key < 0 {
		return false
	}
	id := s.Field(s.Key).Type.ID()
	return id == arrow.UINT64 || id == arrow.INT64
}

// TimeRange returns the lowest and highest event time of b in Unix seconds, rounded down; ok is false
// without an event-time column or rows.
func TimeRange(s Schema, b arrow.RecordBatch) (lo, hi int64, ok bool) {
	if s.Time < 0 || b.NumRows() == 0 {
		return 0, 0, false
	}
	col := b.Column(s.Time).(*array.Timestamp)
	unit := s.Field(s.Time).Type.(*arrow.TimestampType).Unit
	per := int64(1e9) / int64(unit.Multiplier())
	for i, v := range col.TimestampValues() {
		t := int64(v) / per
		if int64(v)%per < 0 { // before 1970 a division rounds up
			t--
		}
		if i == 0 || t < lo {
			lo = t
		}
		if i == 0 || t > hi {
			hi = t
		}
	}
	return lo, hi, true
}

// EventTimes returns how to read the event time of a row of b; ok is false without such a column.
func EventTimes(s Schema, b arrow.RecordBatch) (at func(row int) time.Time, ok bool) {
	if s.Time < 0 {
		return nil, false
	}
	unit := s.Field(s.Time).Type.(*arrow.TimestampType).Unit
	values := b.Column(s.Time).(*array.Timestamp).TimestampValues()
	return func(i int) time.Time { return values[i].ToTime(unit) }, true
}

// Keep returns the rows of b for which keep is true, in their order. If they stand together they are not copied.
func Keep(b arrow.RecordBatch, keep []bool) (arrow.RecordBatch, error) {
	var runs [][2]int64
	for i := 0; i < len(keep); {
		if !keep[i] {
			i++
			continue
		}
		j := i
		for j < len(keep) && keep[j] {
			j++
		}
		runs = append(runs, [2]int64{int64(i), int64(j)})
		i = j
	}
	if len(runs) == 1 {
		return b.NewSlice(runs[0][0], runs[0][1]), nil
	}
	parts := make([]arrow.RecordBatch, len(runs))
	for i, r := range runs {
		parts[i] = b.NewSlice(r[0], r[1])
	}
	return Concat(b.Schema(), parts)
}

// Concat returns the rows of all parts, in order, as one batch of schema s.
func Concat(s *arrow.Schema, parts []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(parts) == 1 {
		return parts[0], nil
	}
	rows := int64(0)
	for _, p := range parts {
		rows += p.NumRows()
	}
	cols := make([]arrow.Array, s.NumFields())
	for c := range cols {
		arrs := make([]arrow.Array, len(parts))
		for i, p := range parts {
			arrs[i] = p.Column(c)
		}
		if len(arrs) == 0 {
			cols[c] = array.MakeArrayOfNull(memory.DefaultAllocator, s.Field(c).Type, 0)
			continue
		}
		col, err := array.Concatenate(arrs, memory.DefaultAllocator)
		if err != nil {
			return nil, fmt.Errorf("join column %s: %w", s.Field(c).Name, err)
		}
		cols[c] = col
	}
	return array.NewRecordBatch(s, cols, rows), nil
}

// metaOptional marks a column that a page may lack.
const metaOptional = "holdfast.optional"

// Optional marks a field as one that a source's schema does not promise: a page has it behind the
// promised columns, or not.
func Optional(f arrow.Field) arrow.Field {
	f.Nullable = true
	f.Metadata = arrow.NewMetadata([]string{metaOptional}, []string{"true"})
	return f
}

// IsOptional reports whether a field is marked by Optional.
func IsOptional(f arrow.Field) bool {
	v, ok := f.Metadata.GetValue(metaOptional)
	return ok && v == "true"
}

// WithoutOptional returns s and b without those optional columns that keep refuses, and without a change
// if there are none.
func WithoutOptional(s Schema, b arrow.RecordBatch, keep func(arrow.Field) bool) (Schema, arrow.RecordBatch,
	error) {
	var fields []arrow.Field
	var cols []arrow.Array
	for i, f := range s.Fields() {
		if !IsOptional(f) || keep(f) {
			fields, cols = append(fields, f), append(cols, b.Column(i))
		}
	}
	if len(fields) == s.NumFields() {
		return s, b, nil
	}
	md := s.Metadata()
	out, err := SchemaOf(arrow.NewSchema(fields, &md))
	if err != nil {
		return s, b, err
	}
	return out, array.NewRecordBatch(out.Schema, cols, b.NumRows()), nil
}
