package record

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
)

func testBatch(t testing.TB, from, n int) (Schema, arrow.RecordBatch) {
	t.Helper()
	s := NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "call", Type: arrow.BinaryTypes.String},
	}, "id", "time")
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Schema)
	for i := from; i < from+n; i++ {
		b.Field(0).(*array.Uint64Builder).Append(uint64(i))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1700000000 + i))
		b.Field(2).(*array.StringBuilder).Append("K1ABC")
	}
	return s, b.NewRecordBatch()
}

func TestEncodeRoundTrip(t *testing.T) {
	s, b := testBatch(t, 1, 1000)
	data, h, err := Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data, h)
	if err != nil {
		t.Fatal(err)
	}
	if !array.RecordEqual(b, got) {
		t.Error("rows differ after a round trip")
	}
	s2, err := SchemaOf(got.Schema())
	if err != nil || s2.Key != s.Key || s2.Time != s.Time {
		t.Errorf("marks: got %+v %v, want key %d time %d", s2, err, s.Key, s.Time)
	}
	if lo, hi, ok := TimeRange(s, got); !ok || lo != 1700000001 || hi != 1700001000 {
		t.Errorf("time range: got %d..%d %v", lo, hi, ok)
	}
	again, h3, _ := Encode(nil, got)
	if h3 != h || !bytes.Equal(again, data) {
		t.Error("encoding what was decoded gives other bytes")
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	_, b := testBatch(t, 1, 50)
	data, h, _ := Encode(nil, b)
	for i := range data {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(data)
			bad[i] ^= bit
			got, err := Decode(bad, h)
			if err == nil && !array.RecordEqual(got, b) {
				t.Fatalf("byte %d: other rows under the same hash", i)
			}
			if err != nil && !fault.Is(err, fault.Corrupt) {
				t.Fatalf("byte %d: kind %v, want corrupt: %v", i, fault.KindOf(err), err)
			}
		}
		if _, err := Decode(data[:i], h); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("cut at %d: got %v, want corrupt", i, err)
		}
	}
}

func TestKeep(t *testing.T) {
	s, b := testBatch(t, 10, 6)
	for _, c := range []struct {
		keep []bool
		want []uint64
	}{
		{[]bool{true, true, true, true, true, true}, []uint64{10, 11, 12, 13, 14, 15}},
		{[]bool{false, true, true, false, false, true}, []uint64{11, 12, 15}},
		{[]bool{false, false, false, false, false, false}, nil},
	} {
		got, err := Keep(b, c.keep)
		if err != nil {
			t.Fatal(err)
		}
		keys, _ := Keys(s, got)
		if len(keys) != len(c.want) {
			t.Fatalf("keep %v: got %v, want %v", c.keep, keys, c.want)
		}
		for i := range keys {
			if keys[i] != c.want[i] {
				t.Fatalf("keep %v: got %v, want %v", c.keep, keys, c.want)
			}
		}
		data, h, err := Encode(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(data, h); err != nil || !array.RecordEqual(back, got) {
			t.Errorf("a kept slice does not survive encoding: %v", err)
		}
	}
}

func TestTokenText(t *testing.T) {
	l := Lineage{1, 2, 3}
	got, err := ParseLineage(l.String())
	if err != nil || got != l {
		t.Fatalf("lineage: got %v %v", got, err)
	}
	a := Token{Job: "spots", Lineage: l, First: 1, Last: 2}
	b := a
	b.RowTo = 5
	if a.String() == b.String() {
		t.Error("a part has the token of the whole")
	}
	if _, err := ParseLineage("nonsense"); err == nil {
		t.Error("nonsense was read as a lineage")
	}
}

func FuzzDecode(f *testing.F) {
	_, b := testBatch(f, 1, 3)
	data, h, _ := Encode(nil, b)
	f.Add(data)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = Decode(data, h) })
}

func BenchmarkEncode(b *testing.B) {
	_, batch := testBatch(b, 1, 1000)
	var dst []byte
	for b.Loop() {
		dst, _, _ = Encode(dst[:0], batch)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}

// A batch must not live in what the next decoding writes to.
func TestDecodedBatchesStandAlone(t *testing.T) {
	var data [2][]byte
	var hashes [2]Hash
	for i := range data {
		_, b := testBatch(t, i*1000, 100)
		var err error
		if data[i], hashes[i], err = Encode(nil, b); err != nil {
			t.Fatal(err)
		}
	}
	first, err := Decode(data[0], hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := Decode(data[1], hashes[1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, want := testBatch(t, 0, 100); !array.RecordEqual(first, want) {
		t.Error("a later decoding changed an earlier batch")
	}
}

// The mark of an optional column must survive encoding, or a sink could not tell it.
func TestOptionalSurvivesEncoding(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64},
		Optional(arrow.Field{Name: "b", Type: arrow.BinaryTypes.String})}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	b.Field(0).(*array.Int64Builder).Append(1)
	b.Field(1).AppendNull()
	data, h, err := Encode(nil, b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data, h)
	if err != nil {
		t.Fatal(err)
	}
	if IsOptional(got.Schema().Field(0)) || !IsOptional(got.Schema().Field(1)) {
		t.Errorf("got schema %v, want b optional alone", got.Schema())
	}
}

// TestTimeRangeBefore1970: a range begins no later than its first row.
func TestTimeRangeBefore1970(t *testing.T) {
	s := NewSchema([]arrow.Field{{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ms}}, "", "at")
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Schema)
	b.Field(0).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{-500, -1500, -3000}, nil)
	if lo, hi, ok := TimeRange(s, b.NewRecordBatch()); !ok || lo != -3 || hi != -1 {
		t.Errorf("got %d to %d, %v; want -3 to -1", lo, hi, ok)
	}
}
