package bench

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"

	"holdfast/base/record"
	"holdfast/connector/influxdb"
	"holdfast/tests/testenv"
)

// The original cuts an hour into this many batches, of 500 rows if it has 44,000.
const originalBatches = 88

// ahead is how many batches the streamer may be ahead of the ingester. The original knows no bound, and waits
// five minutes between hours instead; as fast as can be, Redis would cut its ingester off.
const ahead = 16

// original is the design of WeatherVane as a straightforward program in Go: one goroutine reads the data set, as ours does, and
// publishes JSON, another parses it, keeps the hour in memory and posts it once LAST has come, and a third asks for the rows of
// an hour that it has notice of and posts the two reports. Nothing of it is durable and nothing is confirmed. It returns the
// rows/s from the first message to the last notice.
func original(t *testing.T, redis *testenv.RedisServer, influx *testenv.InfluxServer, database, input string,
	hours [][]observation) float64 {
	t.Helper()
	s, schema := openInflux(t, influx, database)
	reader, err := influxdb.NewClient(influxConfig(influx, database))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	file, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	set := csv.NewReader(bufio.NewReaderSize(file, 1<<20))
	set.ReuseRecord = true
	if _, err := set.Read(); err != nil { // the header
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	o := &originalRoles{ctx: ctx, sink: s, schema: schema, reader: reader, server: influx, database: database,
		room: make(chan struct{}, ahead), ready: make(chan struct{})}
	out, in := redisClient(t, redis), redisClient(t, redis)
	notices := redisClient(t, redis)
	var end time.Time
	g.Go(func() error { return o.process(notices, len(hours)) })
	g.Go(func() error {
		select {
		case <-o.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		return o.stream(out, set, len(hours), len(hours[0]))
	})
	g.Go(func() error {
		err := o.ingest(in, out, len(hours))
		end = time.Now()
		return err
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	places := 0
	for _, hour := range hours {
		places += extremes(hour)
	}
	if n := points(t, influx, database, "avg_temp_c", "weather_averages", time.Time{}); n != 50*len(hours) {
		t.Fatalf("the original stored %d averages, want %d", n, 50*len(hours))
	}
	if n := points(t, influx, database, "complete", "zip_code_extremes", time.Time{}); n != places {
		t.Fatalf("the original stored %d extremes, want %d", n, places)
	}
	return float64(len(hours)*len(hours[0])) / end.Sub(o.begin).Seconds()
}

// originalRoles are the streamer, the ingester and the processor of the original.
type originalRoles struct {
	ctx      context.Context
	sink     *influxdb.Sink
	schema   record.Schema
	reader   *influxdb.Client
	server   *testenv.InfluxServer
	database string
	room     chan struct{} // holds one for each batch that is on the way
	ready    chan struct{} // closed when the ingester listens
	begin    time.Time     // of the first message; read when all have ended
}

// readHour reads the rows of an hour.
func readHour(set *csv.Reader, rows int) (hour []observation, err error) {
	for range rows {
		line, err := set.Read()
		if err != nil {
			return nil, err
		}
		o := observation{Time: line[0], ZipCode: line[1], State: line[2], Name: line[3], WindDir: line[4]}
		if o.Hour, err = strconv.Atoi(o.Time[11:13]); err != nil {
			return nil, err
		}
		for i, v := range o.all() {
			if *v, err = strconv.ParseFloat(line[1+len(textNames)+i], 64); err != nil {
				return nil, err
			}
		}
		hour = append(hour, o)
	}
	return hour, nil
}

func (o *originalRoles) stream(c rueidis.Client, set *csv.Reader, hours, rows int) error {
	for h := range hours {
		hour, err := readHour(set, rows)
		if err != nil {
			return err
		}
		size := (len(hour) + originalBatches - 1) / originalBatches
		for i := 0; i*size < len(hour); i++ {
			payload, err := json.Marshal(hour[i*size : min((i+1)*size, len(hour))])
			if err != nil {
				return err
			}
			batch := fmt.Sprint(i)
			if (i+1)*size >= len(hour) {
				batch = "LAST"
			}
			select {
			case o.room <- struct{}{}:
			case <-o.ctx.Done():
				return o.ctx.Err()
			}
			if o.begin.IsZero() {
				o.begin = time.Now()
			}
			channel := fmt.Sprintf("weather_channel:data:%s:%d", batch, h)
			if err := publish(o.ctx, c, channel, string(payload)); err != nil {
				return err
			}
		}
	}
	return nil
}

func publish(ctx context.Context, c rueidis.Client, channel, payload string) error {
	return c.Do(ctx, c.B().Publish().Channel(channel).Message(payload).Build()).Error()
}

func (o *originalRoles) ingest(in, out rueidis.Client, hours int) error {
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	var rows []observation
	var failed error
	posted := 0
	hear := func(m rueidis.PubSubMessage) {
		if failed != nil || posted == hours {
			return
		}
		var batch []observation
		if failed = json.Unmarshal([]byte(m.Message), &batch); failed == nil {
			rows = append(rows, batch...)
			<-o.room
		}
		if failed == nil && strings.Contains(m.Channel, ":LAST:") {
			failed = o.post(rows)
			rows = rows[:0]
			posted++
			if failed == nil {
				hour := m.Channel[strings.LastIndexByte(m.Channel, ':')+1:]
				failed = publish(ctx, out, "weather_channel:processor:"+hour, hour)
			}
		}
		if failed != nil || posted == hours {
			cancel()
		}
	}
	err := in.Receive(rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { close(o.ready) }),
		in.B().Psubscribe().Pattern("weather_channel:data:*").Build(), hear)
	if failed == nil && posted < hours {
		return errors.Join(errors.New("the ingester of the original ended"), err)
	}
	return failed
}

func (o *originalRoles) post(rows []observation) error {
	for first := 0; first < len(rows); first += influxRows {
		b, err := weatherBatch(o.schema, rows[first:min(first+influxRows, len(rows))])
		if err != nil {
			return err
		}
		if err := write(o.ctx, o.sink, o.schema, b); err != nil {
			return err
		}
	}
	return nil
}

// process makes the reports of each hour that there is a notice of.
func (o *originalRoles) process(notices rueidis.Client, hours int) error {
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	var failed error
	done := 0
	err := notices.Receive(ctx, notices.B().Psubscribe().Pattern("weather_channel:processor:*").Build(),
		func(m rueidis.PubSubMessage) {
			if failed != nil || done == hours {
				return
			}
			var hour int
			if hour, failed = strconv.Atoi(m.Message); failed == nil {
				failed = o.report(hour)
				done++
			}
			if failed != nil || done == hours {
				cancel()
			}
		})
	if failed == nil && done < hours {
		return errors.Join(errors.New("the processor of the original ended"), err)
	}
	return failed
}

// report asks for the rows of an hour once, which costs the server less than a question for each figure, and
// posts the averages and the extremes of its states.
func (o *originalRoles) report(hour int) error {
	type extreme struct {
		zip   string
		value float64
	}
	type state struct {
		rows      int
		sum       [4]float64
		low, high [4]extreme
	}
	fields := [4]string{"temp_c", "pressure_mb", "humidity", "precip_mm"}
	states := map[string]*state{}
	at := firstHour.Add(time.Duration(hour) * time.Hour)
	err := o.reader.Query(o.ctx, "SELECT zip_code, state, "+strings.Join(fields[:], ", ")+
		" FROM weather_data WHERE time >= $from AND time < $to",
		map[string]any{"from": at, "to": at.Add(time.Hour)}, func(r influxdb.Row) error {
			zip, name := r.Values[1].(string), r.Values[2].(string)
			s := states[name]
			if s == nil {
				s = new(state)
				states[name] = s
			}
			for i := range fields {
				v, err := r.Values[3+i].(json.Number).Float64()
				if err != nil {
					return err
				}
				s.sum[i] += v
				if l := s.low[i]; s.rows == 0 || v < l.value || v == l.value && zip < l.zip { // as ours: the first place
					s.low[i] = extreme{zip, v}
				}
				if h := s.high[i]; s.rows == 0 || v > h.value || v == h.value && zip < h.zip {
					s.high[i] = extreme{zip, v}
				}
			}
			s.rows++
			return nil
		})
	if err != nil {
		return err
	}
	var lines strings.Builder
	for name, s := range states {
		name = strings.ReplaceAll(name, " ", `\ `)
		fmt.Fprintf(&lines, "weather_averages,state=%s,hour=%02d ", name, hour)
		places := map[string][]string{}
		for i, f := range fields {
			fmt.Fprintf(&lines, "avg_%s=%g,", f, s.sum[i]/float64(s.rows))
			places[s.low[i].zip] = append(places[s.low[i].zip], fmt.Sprintf("min_%s=%g", f, s.low[i].value))
			places[s.high[i].zip] = append(places[s.high[i].zip], fmt.Sprintf("max_%s=%g", f, s.high[i].value))
		}
		fmt.Fprintf(&lines, "complete=true %d\n", at.UnixNano())
		for zip, values := range places {
			fmt.Fprintf(&lines, "zip_code_extremes,zip_code=%s,state=%s,hour=%02d %s,complete=true %d\n", zip, name, hour,
				strings.Join(values, ","), at.UnixNano())
		}
	}
	return o.server.Post(o.database, lines.String())
}

// redisClient is a client of its own.
func redisClient(t *testing.T, redis *testenv.RedisServer) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redis.Addr()}, Password: serverPassword,
		DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
