package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/redis/rueidis"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/connector"
	"holdfast/face/api"
	"holdfast/job/stream/wire"
	"holdfast/tests/testenv"
)

// hoursOf are hours of 44,000 rows, n rows in all; fewer rows are one hour.
func hoursOf(n int) (hours [][]observation) {
	for h := range max(1, n/windowRows) {
		hours = append(hours, observations(h, min(n, windowRows)))
	}
	return hours
}

// eavesdropper hears what the roles say: it knows when the first batch was sent, and what was stored.
type eavesdropper struct {
	mu     sync.Mutex // guards the below
	first  time.Time
	stored []wire.Stored
	heard  []time.Time // when a notice came
}

// eavesdrop hears the first batch and the notices, and none of the other batches, which would cost the machine.
func eavesdrop(t *testing.T, redis *testenv.RedisServer) *eavesdropper {
	t.Helper()
	e := new(eavesdropper)
	c := redisClient(t, redis)
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	var once sync.Once
	var hearing sync.WaitGroup
	hearing.Go(func() {
		hook := func(rueidis.PubSubSubscription) { once.Do(func() { close(ready) }) }
		err := c.Receive(rueidis.WithOnSubscriptionHook(ctx, hook), c.B().Psubscribe().Pattern(weatherNames.Data()+":0:*",
			weatherNames.Data()+":LAST:*", weatherNames.Stored()+":notice:*").Build(), e.hear)
		if ctx.Err() == nil {
			t.Errorf("eavesdrop: %v", errors.Join(errors.New("it ended"), err))
		}
	})
	t.Cleanup(func() { cancel(); hearing.Wait() })
	<-ready
	return e
}

func (e *eavesdropper) hear(m rueidis.PubSubMessage) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	key, ok := strings.CutPrefix(m.Channel, weatherNames.Stored()+":")
	if !ok {
		if e.first.IsZero() {
			e.first = now
		}
		return
	}
	what, err := wire.Read(connector.Message{Topic: weatherNames.Stored(), Key: key, Payload: []byte(m.Message)})
	if s, ok := what.(wire.Stored); ok && err == nil &&
		!slices.ContainsFunc(e.stored, func(o wire.Stored) bool { return o.Number == s.Number }) {
		e.stored, e.heard = append(e.stored, s), append(e.heard, now)
	}
}

// notice waits for the notice of the i-th window that was stored.
func (e *eavesdropper) notice(t *testing.T, i int, all []*testenv.Process) (s wire.Stored, at time.Time) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		if len(e.stored) > i {
			s, at = e.stored[i], e.heard[i]
		}
		e.mu.Unlock()
		if !at.IsZero() {
			return s, at
		}
		if time.Now().After(deadline) {
			t.Fatalf("no notice of window %d:\n%s", i+1, outputs(all))
		}
	}
}

func outputs(all []*testenv.Process) (text string) {
	for _, p := range all {
		text += p.Output() + "\n"
	}
	return text
}

// streamed runs roles as processes between the servers and returns the rows/s from the first batch to the notice of
// the last window.
func streamed(t *testing.T, redis *testenv.RedisServer, influx *testenv.InfluxServer, database string, windows,
	rows int, roles func() []*testenv.Process) float64 {
	t.Helper()
	e := eavesdrop(t, redis)
	all := roles()
	for i := range windows {
		if s, _ := e.notice(t, i, all); s.Lost > 0 {
			t.Fatalf("window %s lacks %d rows", s.Window, s.Lost)
		}
	}
	_, at := e.notice(t, windows-1, all)
	e.mu.Lock()
	took := at.Sub(e.first)
	e.mu.Unlock()
	for _, p := range all {
		if code := p.Wait(t, 2*time.Minute); code != 0 {
			t.Fatalf("ended with %d:\n%s", code, p.Output())
		}
	}
	if n := points(t, influx, database, "temp_c", "weather_data", time.Time{}); n != rows {
		t.Fatalf("%d rows are stored, want %d", n, rows)
	}
	return float64(rows) / took.Seconds()
}

// TestStreamRate is the rate of a stream, Redis to InfluxDB 1.6.7, with all its roles in one process and with a
// process for each, against the same rows posted from memory by the same client; and the design of the original
// between the same servers. By turns, the medians of three rounds.
func TestStreamRate(t *testing.T) {
	n := rows(t, 6*windowRows)
	hours := hoursOf(n)
	n = len(hours) * len(hours[0])
	input := writeDataSet(t, hours)
	redis, influx := testenv.Redis(t), testenv.Influx(t, "")
	testenv.PlainBinary(t) // built before the clock runs
	pass := []string{"--input", input, "--once", "--speedup", "max"}
	ways := []struct {
		name string
		rate func(database string) float64
	}{
		{"one", func(database string) float64 {
			return streamed(t, redis, influx, database, len(hours), n, func() []*testenv.Process {
				return []*testenv.Process{role(t, "all", redis, influx, database, pass...)}
			})
		}},
		{"straight", func(database string) float64 { return straightInflux(t, influx, database, hours) }},
		{"four", func(database string) float64 {
			return streamed(t, redis, influx, database, len(hours), n, func() []*testenv.Process {
				all := []*testenv.Process{role(t, "ingester", redis, influx, database, "--once"),
					role(t, "processor", redis, influx, database, "--once")}
				for _, p := range all {
					p.WaitFor(t, "works in", time.Minute)
				}
				return append(all, role(t, "streamer", redis, influx, database, pass...))
			})
		}},
		{"original", func(database string) float64 {
			return original(t, redis, influx, database, input, hours)
		}},
	}
	ratios := map[string][]float64{}
	for i := range 3 {
		got := map[string]float64{}
		for j := range ways {
			way := ways[(i+j)%len(ways)]
			database := fmt.Sprintf("%s%d", way.name, i)
			got[way.name] = way.rate(database)
			influx.Query(t, "", "DROP DATABASE "+database)
		}
		t.Logf("S1: %d rows in %d windows, Redis -> InfluxDB: all roles in one process %.0f rows/s, a process for each "+
			"%.0f, rows from memory straight into InfluxDB %.0f, the original's design %.0f", n, len(hours), got["one"],
			got["four"], got["straight"], got["original"])
		for _, ours := range []string{"one", "four"} {
			for _, other := range []string{"straight", "original"} {
				key := ours + " / " + other
				ratios[key] = append(ratios[key], got[ours]/got[other])
			}
		}
	}
	for key, all := range ratios {
		slices.Sort(all)
		t.Logf("S1: %s %.2f (median of %.2f)", key, all[1], all)
	}
	if r := ratios["one / straight"][1]; r < 0.8 {
		t.Errorf("ratio %.2f to the rows from memory, want at least 0.8", r)
	}
	if r := ratios["one / original"][1]; r <= 1 {
		t.Errorf("ratio %.2f to the original's design, want more than 1", r)
	}
}

// straightInflux posts the hours from memory, without a broker and without any durability.
func straightInflux(t *testing.T, influx *testenv.InfluxServer, database string, hours [][]observation) float64 {
	t.Helper()
	s, schema := openInflux(t, influx, database)
	var batches []arrow.RecordBatch
	n := 0
	for _, hour := range hours {
		n += len(hour)
		for part := range slices.Chunk(hour, influxRows) {
			b, err := weatherBatch(schema, part)
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
	}
	begin := time.Now()
	for _, b := range batches {
		if err := write(t.Context(), s, schema, b); err != nil {
			t.Fatal(err)
		}
	}
	return float64(n) / time.Since(begin).Seconds()
}

// TestStreamReport is the time from the last row of a window stored to both of its reports stored, for windows with
// some seconds between them: with all roles in one process, and with a processor of its own, which asks the database
// for the rows.
func TestStreamReport(t *testing.T) {
	const interval = 15 * time.Second // the server needs a few for the rows of a window
	n := rows(t, 6*windowRows)
	hours := hoursOf(n)
	input := writeDataSet(t, hours)
	redis, influx := testenv.Redis(t), testenv.Influx(t, "")
	testenv.PlainBinary(t)
	pace := []string{"--input", input, "--interval", interval.String()}
	for _, way := range []struct {
		name  string
		goal  time.Duration
		roles func(dir, database string) []*testenv.Process
	}{
		{"one", 200 * time.Millisecond, func(dir, database string) []*testenv.Process {
			return []*testenv.Process{roleIn(t, dir, "all", redis, influx, database, append(pace, "--api-listen",
				testenv.Address(t))...)}
		}},
		{"apart", 0, func(dir, database string) []*testenv.Process {
			all := []*testenv.Process{role(t, "ingester", redis, influx, database),
				roleIn(t, dir, "processor", redis, influx, database)}
			for _, p := range all {
				p.WaitFor(t, "works in", time.Minute)
			}
			return append(all, role(t, "streamer", redis, influx, database, pace...))
		}},
	} {
		e := eavesdrop(t, redis)
		dir := t.TempDir()
		all := way.roles(dir, way.name)
		var took []time.Duration
		rows := int64(0)
		for i := range hours {
			s, _ := e.notice(t, i, all)
			places := extremes(hours[int(s.From.Sub(firstHour)/time.Hour)])
			// The role is asked, and InfluxDB afterwards: a question costs it as much time as the reports do.
			for deadline := time.Now().Add(time.Minute); reported(t, dir) < rows+int64(places)+50; {
				if time.Now().After(deadline) {
					t.Fatalf("no reports of window %d:\n%s", i+1, outputs(all))
				}
				time.Sleep(2 * time.Millisecond)
			}
			took = append(took, time.Since(s.At))
			rows = reported(t, dir)
			if extreme, mean := points(t, influx, way.name, "complete", "zip_code_extremes", s.From),
				points(t, influx, way.name, "complete", "weather_averages", s.From); extreme != places || mean != 50 {
				t.Errorf("window %d: %d and %d points are stored, want %d and 50", i+1, extreme, mean, places)
			}
		}
		for _, p := range all {
			p.Term()
		}
		for _, p := range all {
			p.Wait(t, time.Minute)
		}
		median := quantile(took, 0.5)
		t.Logf("S3: roles %s: reports of %d rows stored %v after the last row, worst %v (%v)", way.name, len(hours[0]),
			median.Round(time.Millisecond), quantile(took, 1).Round(time.Millisecond), took)
		if way.goal > 0 && median > way.goal {
			t.Errorf("reports %v after the last row, the median of %v, want under %v", median, took, way.goal)
		}
		influx.Query(t, "", "DROP DATABASE "+way.name)
	}
}

// reported is how many rows of reports a processor has stored, as it says itself.
func reported(t *testing.T, dir string) int64 {
	t.Helper()
	c, err := api.Dial(dir)
	if err != nil {
		return 0 // it begins
	}
	var rep desk.Report
	if err := c.Do(t.Context(), api.Request{Method: http.MethodGet, Path: "/api/v1/jobs", Result: &rep}); err != nil {
		return 0
	}
	for _, job := range rep.Jobs {
		for _, s := range job.Balance.Sinks {
			if s.Sink == "database-reports" {
				return s.Delivered
			}
		}
	}
	return 0
}

// BenchmarkStream is a pass of all roles in this process, so that it can be profiled:
//
//	go test -run xxx -bench Stream -benchtime 1x -cpuprofile cpu.out ./bench
func BenchmarkStream(b *testing.B) {
	hours := hoursOf(4 * windowRows)
	input := writeDataSet(b, hours)
	redis, influx := testenv.Redis(b), testenv.Influx(b, "")
	for i := 0; b.Loop(); i++ {
		plan, err := app.Weather(app.WeatherFlags{Role: "all", Input: input, Once: true, Speedup: "max",
			Broker: "redis://" + redis.Addr(), BrokerPassword: serverPassword,
			Database: fmt.Sprintf("http://%s/pass%d", influx.Addr(), i), DatabaseUser: "admin",
			DatabasePassword: serverPassword, DataDir: b.TempDir()}, os.LookupEnv, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		e, err := plan.Engine(func(err error) { panic(err) })
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(e.Run(b.Context()), plan.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*4*windowRows/b.Elapsed().Seconds(), "rows/s")
}
