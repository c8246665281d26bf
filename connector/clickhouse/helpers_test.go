package clickhouse

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// spots is the schema of the rows in most tests: the 20 columns of a WSPR spot.
var spots = record.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
	{Name: "band", Type: arrow.PrimitiveTypes.Int16},
	{Name: "rx_sign", Type: arrow.BinaryTypes.String},
	{Name: "rx_lat", Type: arrow.PrimitiveTypes.Float32},
	{Name: "rx_lon", Type: arrow.PrimitiveTypes.Float32},
	{Name: "rx_loc", Type: arrow.BinaryTypes.String},
	{Name: "tx_sign", Type: arrow.BinaryTypes.String},
	{Name: "tx_lat", Type: arrow.PrimitiveTypes.Float32},
	{Name: "tx_lon", Type: arrow.PrimitiveTypes.Float32},
	{Name: "tx_loc", Type: arrow.BinaryTypes.String},
	{Name: "distance", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "azimuth", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "rx_azimuth", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "frequency", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "power", Type: arrow.PrimitiveTypes.Int8},
	{Name: "snr", Type: arrow.PrimitiveTypes.Int8},
	{Name: "drift", Type: arrow.PrimitiveTypes.Int8},
	{Name: "version", Type: arrow.BinaryTypes.String},
	{Name: "code", Type: arrow.PrimitiveTypes.Int8},
}, "id", "time")

// noon is 2026-07-15 12:00:00 UTC: a block around it lies in one month and one day.
const noon = 1784116800

// spotBatch returns n spots with the ids from first on, one second apart from start on.
func spotBatch(first uint64, start int64, n int) arrow.RecordBatch {
	return spotsOf(n, func(i int) (uint64, int64) { return first + uint64(i), start + int64(i/100) })
}

func spotsOf(n int, at func(i int) (id uint64, time int64)) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, spots.Schema)
	bands := []int16{0, 1, 3, 5, 7, 10, 14, 18, 21, 24, 28}
	for i := range n {
		id, t := at(i)
		x := int(id*2654435761) & 0xffff
		b.Field(0).(*array.Uint64Builder).Append(id)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(t))
		b.Field(2).(*array.Int16Builder).Append(bands[x%len(bands)])
		text := func(f int, s string) { b.Field(f).(*array.StringBuilder).Append(s) }
		degrees := func(f int, d float32) { b.Field(f).(*array.Float32Builder).Append(d) }
		short := func(f, v int) { b.Field(f).(*array.Uint16Builder).Append(uint16(v)) }
		tiny := func(f, v int) { b.Field(f).(*array.Int8Builder).Append(int8(v)) }
		text(3, fmt.Sprintf("AE%dEA", x%3000))
		degrees(4, 42.5)
		degrees(5, -float32(x)/400)
		text(6, "FN12fr")
		text(7, fmt.Sprintf("K%dABC", x%5000))
		degrees(8, 51.25)
		degrees(9, float32(x%360)-180)
		text(10, "IO91wm")
		short(11, x%20000)
		short(12, x%360)
		short(13, (x+180)%360)
		b.Field(14).(*array.Uint64Builder).Append(uint64(14097000 + x%200))
		tiny(15, x%60)
		tiny(16, -x%30)
		tiny(17, x%3-1)
		text(18, "2.6.1")
		tiny(19, x%4)
	}
	return b.NewRecordBatch()
}

// deliver makes a first delivery of a batch; the token is of its bytes.
func delivery(t testing.TB, seq uint64, b arrow.RecordBatch) connector.Delivery {
	t.Helper()
	_, h, err := record.Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return connector.Delivery{
		Token: record.Token{Job: t.Name(), Lineage: lineageOf(t), First: seq, Last: seq,
			Hash: h},
		Schema: spots, Rows: b, FirstAttempt: time.Now(),
	}
}

func lineageOf(t testing.TB) record.Lineage {
	h := sha256.Sum256([]byte(t.Name()))
	return record.Lineage(h[:16])
}

// engines runs a test on both servers.
func engines(t *testing.T, f func(t *testing.T, s *testenv.ClickHouseServer)) {
	t.Helper()
	enginesWith(t, testenv.ClickHouseOptions{}, f)
}

func enginesWith(t *testing.T, o testenv.ClickHouseOptions,
	f func(t *testing.T, s *testenv.ClickHouseServer),
) {
	t.Helper()
	t.Run("18.16", func(t *testing.T) { f(t, testenv.ClickHouseWith(t, o)) })
	t.Run("modern", func(t *testing.T) { f(t, testenv.ModernClickHouseWith(t, o)) })
}

// open opens a sink for the table wsprnet.spots, which it creates.
func open(t testing.TB, url string, change ...func(*Config)) *Sink {
	t.Helper()
	cfg := Config{URL: url, Database: "wsprnet", Table: "spots", Create: true, Timeout: 10 * time.Second,
		Grace: 50 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func prepare(t testing.TB, s *Sink) {
	t.Helper()
	if err := s.Prepare(soon(t), spots); err != nil {
		t.Fatalf("prepare: %v", err)
	}
}

func write(t testing.TB, s *Sink, d connector.Delivery) connector.Verdict {
	t.Helper()
	v, err := s.Write(soon(t), d)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return v
}

// soon is a context that bounds one call.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// drain encodes a block and returns its bytes' number.
func drain(t testing.TB, cols []nativeColumn, rows int, tool *encoder) int {
	t.Helper()
	w, ctx := newWatch(t.Context(), time.Minute)
	defer w.stop()
	body := &insertBody{columns: cols, rows: rows, tool: tool,
		hold: func(context.Context) error { return nil }}
	body.begin(ctx, w)
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

var testMemory = memory.DefaultAllocator

// replace returns the batch with other values in one column.
func replace[T any](t testing.TB, b arrow.RecordBatch, column string, values []T) arrow.RecordBatch {
	t.Helper()
	i := b.Schema().FieldIndices(column)[0]
	nb := array.NewBuilder(testMemory, b.Schema().Field(i).Type)
	for _, v := range values {
		switch x := nb.(type) {
		case *array.Uint64Builder:
			x.Append(any(v).(uint64))
		case *array.Uint16Builder:
			x.Append(any(v).(uint16))
		case *array.TimestampBuilder:
			x.Append(any(v).(arrow.Timestamp))
		case *array.StringBuilder:
			x.Append(any(v).(string))
		}
	}
	out, err := b.SetColumn(i, nb.NewArray())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }

func secretOf(s string) secret.Text { return secret.Text(s) }
