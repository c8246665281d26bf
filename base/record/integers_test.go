package record_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
)

// TestIntegers: the lowest and the highest value of each type are read as they are, and no other type is read.
func TestIntegers(t *testing.T) {
	for _, c := range []struct {
		typ         arrow.DataType
		first, last string
		lo, hi      int64
	}{
		{arrow.PrimitiveTypes.Int8, "-128", "127", -128, 127},
		{arrow.PrimitiveTypes.Int16, "-32768", "32767", -32768, 32767},
		{arrow.PrimitiveTypes.Int32, "-2147483648", "2147483647", -1 << 31, 1<<31 - 1},
		{arrow.PrimitiveTypes.Int64, "-9223372036854775808", "9223372036854775807", -1 << 63, 1<<63 - 1},
		{arrow.PrimitiveTypes.Uint8, "0", "255", 0, 255},
		{arrow.PrimitiveTypes.Uint16, "0", "65535", 0, 65535},
		{arrow.PrimitiveTypes.Uint32, "0", "4294967295", 0, 1<<32 - 1},
	} {
		b := array.NewBuilder(memory.DefaultAllocator, c.typ)
		for _, text := range []string{c.first, c.last} {
			if err := b.AppendValueFromString(text); err != nil {
				t.Fatal(err)
			}
		}
		read := record.Integers(b.NewArray())
		if read == nil || read(0) != c.lo || read(1) != c.hi {
			t.Errorf("%s is not read as it is", c.typ)
		}
	}
	for _, typ := range []arrow.DataType{arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Float32, arrow.BinaryTypes.String} {
		if record.Integers(array.MakeArrayOfNull(memory.DefaultAllocator, typ, 1)) != nil {
			t.Errorf("%s is read as integers", typ)
		}
	}
}
