package streamer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
)

// obs is a row of the small schema.
type obs struct {
	At   time.Time // zero for null
	Zip  string
	Temp float64
}

func smallSchema() record.Schema {
	return record.NewSchema([]arrow.Field{
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "zip_code", Type: arrow.BinaryTypes.String},
		{Name: "temp_c", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, "", "time")
}

func batchRows(rows []obs) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, smallSchema().Schema)
	for _, o := range rows {
		if o.At.IsZero() {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(o.At.UnixMicro()))
		}
		b.Field(1).(*array.StringBuilder).Append(o.Zip)
		b.Field(2).(*array.Float64Builder).Append(o.Temp)
	}
	return b.NewRecordBatch()
}

// feed is a source of rows in memory: its cursor is the number of the next page.
type feed struct {
	schema  record.Schema
	pages   []connector.Page
	endless bool // it has no end, and blocks behind the last page

	mu     sync.Mutex // guards what is below
	fail   error
	asked  int
	closed bool
}

func (f *feed) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }
func (f *feed) Schema() record.Schema          { return f.schema }
func (f *feed) Start(uint64) []byte            { return []byte("0") }

func (f *feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// times is how often it was asked.
func (f *feed) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *feed) breaks(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *feed) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	f.mu.Lock()
	f.asked++
	err := f.fail
	f.mu.Unlock()
	n, bad := strconv.Atoi(string(r.Cursor))
	if err != nil || bad != nil {
		return connector.Page{}, fmt.Errorf("page %q: %w", r.Cursor, err)
	}
	if n >= len(f.pages) && f.endless {
		<-ctx.Done()
		return connector.Page{}, ctx.Err()
	}
	if n >= len(f.pages) {
		return connector.Page{Cursor: r.Cursor, End: true}, nil
	}
	p := f.pages[n]
	p.Cursor, p.More = []byte(strconv.Itoa(n+1)), true
	return p, nil
}

// feedOf cuts rows into pages.
func feedOf(rows []obs, size int) *feed {
	f := &feed{schema: smallSchema()}
	for i := 0; i < len(rows); i += size {
		f.pages = append(f.pages, connector.Page{Rows: batchRows(rows[i:min(i+size, len(rows))])})
	}
	return f
}

var day = time.Date(2023, 9, 19, 0, 0, 0, 0, time.UTC)

// hours makes so many rows an hour, in the hours of the day.
func hours(size int, of ...int) (rows []obs) {
	for _, h := range of {
		for i := range size {
			at := day.Add(time.Duration(h)*time.Hour + time.Duration(i)*time.Second%time.Hour)
			rows = append(rows, obs{at, fmt.Sprintf("%02d-%d", h, i), float64(i) / 4})
		}
	}
	return rows
}

// weather are the columns of the WeatherAPI.
func weather() []arrow.Field {
	fields := []arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us}}
	for _, name := range []string{"zip_code", "state", "name", "wind_dir"} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String})
	}
	for _, name := range []string{"lat", "lon", "temp_c", "temp_f", "is_day", "wind_mph", "wind_kph", "wind_degree",
		"pressure_mb", "pressure_in", "precip_mm", "precip_in", "snow_cm", "humidity", "cloud", "feelslike_c", "feelslike_f",
		"windchill_c", "windchill_f", "heatindex_c", "heatindex_f", "dewpoint_c", "dewpoint_f", "will_it_rain",
		"chance_of_rain", "will_it_snow", "chance_of_snow", "vis_km", "vis_miles", "gust_mph", "gust_kph", "uv"} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64})
	}
	return fields
}

// weatherRows are rows of one hour with all columns.
func weatherRows(n int, at time.Time) arrow.RecordBatch {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	schema := record.NewSchema(weather(), "", "time")
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i := range n {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
		for c, v := range []string{fmt.Sprintf("%05d", i), "New York", "Place " + strconv.Itoa(i), "NNE"} {
			b.Field(1 + c).(*array.StringBuilder).Append(v)
		}
		for c := 5; c < len(b.Fields()); c++ {
			b.Field(c).(*array.Float64Builder).Append(float64(rng.IntN(2000)) / 10)
		}
	}
	return b.NewRecordBatch()
}

// itemsOf reads a payload.
func itemsOf(payload []byte) (items []map[string]any, err error) {
	err = json.Unmarshal(payload, &items)
	return items, err
}
