package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/influxdb"
	"holdfast/job/stream/streamer"
	"holdfast/tests/testenv"
)

// windowRows is how many rows an hour of WeatherVane's data set has.
const windowRows = 44_000

// firstHour is the beginning of the day that WeatherVane knows.
var firstHour = time.Date(2023, 9, 19, 0, 0, 0, 0, time.UTC)

// observation is a row of WeatherAPI.com, and how WeatherVane sends it.
type observation struct {
	Time    string `json:"time"`
	ZipCode string `json:"zip_code"`
	State   string `json:"state"`
	Name    string `json:"name"`
	WindDir string `json:"wind_dir"`
	measured
	Hour int `json:"hour"`
}

// measured are the numbers of an observation.
type measured struct {
	Lat          float64 `json:"lat"`
	Lon          float64 `json:"lon"`
	TempC        float64 `json:"temp_c"`
	TempF        float64 `json:"temp_f"`
	IsDay        float64 `json:"is_day"`
	WindMph      float64 `json:"wind_mph"`
	WindKph      float64 `json:"wind_kph"`
	WindDegree   float64 `json:"wind_degree"`
	PressureMb   float64 `json:"pressure_mb"`
	PressureIn   float64 `json:"pressure_in"`
	PrecipMm     float64 `json:"precip_mm"`
	PrecipIn     float64 `json:"precip_in"`
	SnowCm       float64 `json:"snow_cm"`
	Humidity     float64 `json:"humidity"`
	Cloud        float64 `json:"cloud"`
	FeelslikeC   float64 `json:"feelslike_c"`
	FeelslikeF   float64 `json:"feelslike_f"`
	WindchillC   float64 `json:"windchill_c"`
	WindchillF   float64 `json:"windchill_f"`
	HeatindexC   float64 `json:"heatindex_c"`
	HeatindexF   float64 `json:"heatindex_f"`
	DewpointC    float64 `json:"dewpoint_c"`
	DewpointF    float64 `json:"dewpoint_f"`
	WillItRain   float64 `json:"will_it_rain"`
	ChanceOfRain float64 `json:"chance_of_rain"`
	WillItSnow   float64 `json:"will_it_snow"`
	ChanceOfSnow float64 `json:"chance_of_snow"`
	VisKm        float64 `json:"vis_km"`
	VisMiles     float64 `json:"vis_miles"`
	GustMph      float64 `json:"gust_mph"`
	GustKph      float64 `json:"gust_kph"`
	UV           float64 `json:"uv"`
}

// all are the numbers in the order of numberNames.
func (m *measured) all() [32]*float64 {
	return [32]*float64{
		&m.Lat, &m.Lon, &m.TempC, &m.TempF, &m.IsDay, &m.WindMph, &m.WindKph, &m.WindDegree,
		&m.PressureMb, &m.PressureIn, &m.PrecipMm, &m.PrecipIn, &m.SnowCm, &m.Humidity, &m.Cloud, &m.FeelslikeC,
		&m.FeelslikeF, &m.WindchillC, &m.WindchillF, &m.HeatindexC, &m.HeatindexF, &m.DewpointC, &m.DewpointF, &m.WillItRain,
		&m.ChanceOfRain, &m.WillItSnow, &m.ChanceOfSnow, &m.VisKm, &m.VisMiles, &m.GustMph, &m.GustKph, &m.UV,
	}
}

var (
	textNames   = []string{"zip_code", "state", "name", "wind_dir"}
	numberNames = strings.Fields(`lat lon temp_c temp_f is_day wind_mph wind_kph wind_degree
		pressure_mb pressure_in precip_mm precip_in snow_cm humidity cloud feelslike_c
		feelslike_f windchill_c windchill_f heatindex_c heatindex_f dewpoint_c dewpoint_f will_it_rain
		chance_of_rain will_it_snow chance_of_snow vis_km vis_miles gust_mph gust_kph uv`)
)

func (o *observation) texts() [4]string { return [4]string{o.ZipCode, o.State, o.Name, o.WindDir} }

// observations makes the rows of an hour, in 50 states. Numbers have one decimal, as the data set's.
func observations(hour, n int) []observation {
	rng := rand.New(rand.NewPCG(uint64(hour), 6))
	at := firstHour.Add(time.Duration(hour) * time.Hour)
	all := make([]observation, n)
	for i := range all {
		o := &all[i]
		o.Time, o.Hour = at.Format(streamer.DefaultTimeLayout), at.Hour()
		o.ZipCode, o.State = fmt.Sprintf("%05d", 501+i), fmt.Sprintf("State %02d", i%50)
		o.Name = fmt.Sprintf("Town %d", i)
		o.WindDir = []string{"N", "ESE", "SW", "WNW"}[rng.IntN(4)]
		for _, v := range o.all() {
			*v = float64(rng.IntN(1000)) / 10
		}
		o.PressureMb += 950
		for _, v := range []*float64{&o.IsDay, &o.WillItRain, &o.WillItSnow} {
			*v = float64(rng.IntN(2))
		}
	}
	return all
}

// writeDataSet writes hours as the streamer reads them.
func writeDataSet(t testing.TB, hours [][]observation) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "day.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	b := bufio.NewWriterSize(file, 1<<20)
	w := csv.NewWriter(b)
	_ = w.Write(slices.Concat([]string{"time"}, textNames, numberNames))
	var line []string
	for _, hour := range hours {
		for i := range hour {
			o := &hour[i]
			texts := o.texts()
			line = append(append(line[:0], o.Time), texts[:]...)
			for _, v := range o.all() {
				line = append(line, strconv.FormatFloat(*v, 'f', -1, 64))
			}
			_ = w.Write(line)
		}
	}
	w.Flush()
	if err := cmp.Or(w.Error(), b.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// weatherTable reads what travels: the preset of `holdfast weather`.
func weatherTable() (*columns.Table, error) {
	s := columns.Spec{Time: "time", Extra: columns.ExtraDrop, Zone: time.UTC, Columns: []columns.Column{{Name: "time",
		Type: columns.Time, Format: streamer.DefaultTimeLayout}}}
	for _, name := range textNames {
		s.Columns = append(s.Columns, columns.Column{Name: name, Type: columns.Text})
	}
	for _, name := range numberNames {
		s.Columns = append(s.Columns, columns.Column{Name: name, Type: columns.Float64, Optional: true})
	}
	return columns.New(s)
}

// weatherBatch has rows as a sink takes them.
func weatherBatch(schema record.Schema, rows []observation) (arrow.RecordBatch, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	unit := schema.Field(0).Type.(*arrow.TimestampType).Unit
	for i := range rows {
		o := &rows[i]
		at, err := time.Parse(streamer.DefaultTimeLayout, o.Time)
		if err != nil {
			return nil, err
		}
		stamp, err := arrow.TimestampFromTime(at, unit)
		if err != nil {
			return nil, err
		}
		b.Field(0).(*array.TimestampBuilder).Append(stamp)
		for j, v := range o.texts() {
			b.Field(1 + j).(*array.StringBuilder).Append(v)
		}
		for j, v := range o.all() {
			b.Field(1 + len(textNames) + j).(*array.Float64Builder).Append(*v)
		}
	}
	return b.NewRecordBatch(), nil
}

// influxSink writes rows of weather as `holdfast weather` does.
func influxSink(influx *testenv.InfluxServer, database string) (*influxdb.Sink, error) {
	return influxdb.New(influxConfig(influx, database))
}

func influxConfig(influx *testenv.InfluxServer, database string) influxdb.Config {
	return influxdb.Config{URL: "http://" + influx.Addr(), Database: database, Username: "admin",
		Password: serverPassword, Create: true, Timeout: 10 * time.Second, Measurement: "weather_data",
		Tags: []string{"zip_code", "state"}, Time: "time", Unique: true}
}

// serverPassword is that of the servers of testenv.
const serverPassword = "geheim123"

// influxRows is how many rows one request has.
const influxRows = 10_000

// write writes rows to the database.
func write(ctx context.Context, s *influxdb.Sink, schema record.Schema, rows arrow.RecordBatch) error {
	v, err := s.Write(ctx, connector.Delivery{Schema: schema, Rows: rows, FirstAttempt: time.Now(),
		Token: record.Token{Job: "bench", First: 1, Last: 1}})
	if err == nil && len(v.Rejected) > 0 {
		err = fmt.Errorf("%d rows were refused: %v", len(v.Rejected), v.Rejected[0].Reason)
	}
	return err
}

// openInflux returns a sink whose database is there, and the schema of the rows.
func openInflux(t *testing.T, influx *testenv.InfluxServer, database string) (*influxdb.Sink, record.Schema) {
	t.Helper()
	table, err := weatherTable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := influxSink(influx, database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Prepare(t.Context(), table.Schema()); err != nil {
		t.Fatal(err)
	}
	return s, table.Schema()
}

// points is how many rows of a measurement have a field, at one time or at all.
func points(t *testing.T, influx *testenv.InfluxServer, database, field, measurement string, at time.Time) int {
	t.Helper()
	q := fmt.Sprintf("SELECT count(%s) FROM %s", field, measurement)
	if !at.IsZero() {
		q += fmt.Sprintf(" WHERE time = %d", at.UnixNano())
	}
	_, behind, ok := strings.Cut(influx.Query(t, database, q), `"values":[[`)
	if !ok {
		return 0
	}
	_, behind, _ = strings.Cut(behind, ",")
	number, _, _ := strings.Cut(behind, "]")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

// role starts `holdfast weather` with a role.
func role(t *testing.T, name string, redis *testenv.RedisServer, influx *testenv.InfluxServer, database string,
	flags ...string) *testenv.Process {
	t.Helper()
	return roleIn(t, t.TempDir(), name, redis, influx, database, flags...)
}

// roleIn is role with a data directory that is known.
func roleIn(t *testing.T, dir, name string, redis *testenv.RedisServer, influx *testenv.InfluxServer, database string,
	flags ...string) *testenv.Process {
	t.Helper()
	args := []string{"weather", name, "--data-dir", dir}
	if name != "api" {
		args = append(args, "--broker", "redis://"+redis.Addr())
	}
	if name != "streamer" {
		args = append(args, "--database", "http://"+influx.Addr()+"/"+database, "--database-user", "admin")
	}
	return testenv.Start(t, testenv.Command{Path: testenv.PlainBinary(t), Args: append(args, flags...),
		Env: []string{"HOLDFAST_BROKER_PASSWORD=" + serverPassword, "HOLDFAST_DATABASE_PASSWORD=" + serverPassword}})
}

// extremes is how many places hold an extreme of their state, the first of equal ones.
func extremes(rows []observation) int {
	type of struct {
		state string
		field int
		high  bool
	}
	best := map[of]*observation{}
	value := func(o *observation, field int) float64 {
		return [...]float64{o.TempC, o.PressureMb, o.Humidity, o.PrecipMm}[field]
	}
	for i := range rows {
		o := &rows[i]
		for field := range 4 {
			low, high := of{o.State, field, false}, of{o.State, field, true}
			if b := best[low]; b == nil || value(o, field) < value(b, field) {
				best[low] = o
			}
			if b := best[high]; b == nil || value(o, field) > value(b, field) {
				best[high] = o
			}
		}
	}
	places := map[string]bool{}
	for _, o := range best {
		places[o.ZipCode] = true
	}
	return len(places)
}

// quantile is the median for 0.5, the worst for 1.
func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}
