package clickhouse

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

var stations = record.NewSchema([]arrow.Field{
	{Name: "station", Type: arrow.BinaryTypes.String},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s},
}, "station", "at")

func stationRows(keys ...string) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, stations.Schema)
	for i, k := range keys {
		b.Field(0).(*array.StringBuilder).Append(k)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(noon + int64(i)))
	}
	return b.NewRecordBatch()
}

// TestTextKeys compares rows by keys that are texts, where neither token nor life of the store can tell what
// the table holds.
func TestTextKeys(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *testenv.ClickHouseServer{
		"18.16": testenv.ClickHouse, "modern": testenv.ModernClickHouse} {
		t.Run(name, func(t *testing.T) {
			ch := start(t)
			s := open(t, ch.URL(), func(c *Config) { c.Create = true })
			if err := s.Prepare(t.Context(), stations); err != nil {
				t.Fatal(err)
			}
			if some, err := s.Reader().Holds(t.Context()); some || err != nil {
				t.Errorf("Holds of an empty table: got %v (%v)", some, err)
			}
			odd := []string{"", "it's", `back\slash`, "new\nline", "tab\tnul\x00", "Zürich", ","}
			long := strings.Repeat("'", 60_000)
			for life, keys := range [][]string{odd, append([]string{"other", long, long + "y"}, odd...),
				{"other", long, long + "y", "last", strings.Repeat("z", 70_000)}} {
				rows := stationRows(keys...)
				_, hash, err := record.Encode(nil, rows)
				if err != nil {
					t.Fatal(err)
				}
				d := connector.Delivery{Schema: stations, Rows: rows, FirstAttempt: time.Now(), ByKey: true,
					Token: record.Token{Job: "text", Lineage: record.Lineage{byte(life)}, First: 1, Last: 1, Hash: hash}}
				for range 2 {
					if v := write(t, s, d); len(v.Rejected) != life/2 {
						t.Errorf("life %d: %d rows rejected", life, len(v.Rejected))
					}
					d.Unknown = true
				}
			}
			got := strings.Fields(ch.Query(t, "SELECT count(), uniqExact(station) FROM "+s.target()))
			if want := []string{"11", "11"}; !slices.Equal(got, want) {
				t.Errorf("rows and distinct keys: got %v, want %v", got, want)
			}
			if some, err := s.Reader().Holds(t.Context()); !some || err != nil {
				t.Errorf("Holds: got %v (%v), want true", some, err)
			}
		})
	}
}
