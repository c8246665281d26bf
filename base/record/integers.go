package record

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Integers returns how the values of a column are read whose type is one of integers that all fit into an int64: any but
// Uint64. It is nil for other columns. What it returns for a null is not defined.
func Integers(col arrow.Array) func(row int) int64 {
	switch c := col.(type) {
	case *array.Int8:
		return integers(c.Int8Values())
	case *array.Int16:
		return integers(c.Int16Values())
	case *array.Int32:
		return integers(c.Int32Values())
	case *array.Int64:
		return integers(c.Int64Values())
	case *array.Uint8:
		return integers(c.Uint8Values())
	case *array.Uint16:
		return integers(c.Uint16Values())
	case *array.Uint32:
		return integers(c.Uint32Values())
	}
	return nil
}

func integers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](v []T) func(int) int64 {
	return func(i int) int64 { return int64(v[i]) }
}
