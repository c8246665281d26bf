package record_test

import (
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
)

// TestArena shows that joined batches stay what they are when their arena is used again, also those whose
// columns share memory with the parts.
func TestArena(t *testing.T) {
	for name, typ := range map[string]arrow.DataType{
		"integer": arrow.PrimitiveTypes.Int64, "text": arrow.BinaryTypes.String,
		"dictionary": &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32,
			ValueType: arrow.BinaryTypes.String},
		"list": arrow.ListOf(arrow.BinaryTypes.String), "view": arrow.BinaryTypes.StringView,
	} {
		for _, parts := range []int{1, 3} {
			t.Run(name+strconv.Itoa(parts), func(t *testing.T) {
				first := joined(t, record.NewArena(), typ, "kept", parts)
				want := columnText(first)
				for range 4 { // it overwrites what is free
					joined(t, record.NewArena(), typ, "over", parts)
				}
				if got := columnText(first); got != want {
					t.Errorf("after the arena was used again: %s, want %s", got, want)
				}
			})
		}
	}
}

func columnText(b arrow.RecordBatch) string { return b.Schema().String() + b.Column(0).String() }

func joined(t *testing.T, arena *record.Arena, typ arrow.DataType, word string, n int) arrow.RecordBatch {
	t.Helper()
	defer arena.Release()
	s := arrow.NewSchema([]arrow.Field{{Name: "a", Type: typ, Nullable: true}}, nil)
	var parts []arrow.RecordBatch
	for range n {
		packed, _, err := record.Encode(nil, column(t, s, word))
		if err != nil {
			t.Fatal(err)
		}
		b, err := arena.Unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, b)
	}
	all, err := arena.Join(s, parts)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// column has values that all lengths of word fill alike, so that other batches lie over it byte by byte.
func column(t *testing.T, s *arrow.Schema, word string) arrow.RecordBatch {
	t.Helper()
	b := array.NewBuilder(memory.DefaultAllocator, s.Field(0).Type)
	for i := range 200 {
		text := word + " and long enough to lie outside of a view " + strconv.Itoa(100+i)
		switch b := b.(type) {
		case *array.Int64Builder:
			b.Append(int64(i) + int64(word[0]))
		case *array.ListBuilder:
			b.Append(true)
			b.ValueBuilder().(*array.StringBuilder).Append(text)
		case *array.BinaryDictionaryBuilder:
			if err := b.AppendString(text); err != nil {
				t.Fatal(err)
			}
		default:
			if err := b.AppendValueFromString(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	return array.NewRecordBatch(s, []arrow.Array{b.NewArray()}, 200)
}
