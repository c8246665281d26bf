package weather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// The parts of WeatherVane, as its document and what is known of its code say. They know the channels of the
// original alone, and take them by the letter: what of ours is another fails the test here. What they can't do is
// kept, and said at each.

// oldBatches is how many batches each hour has; the original knows no other number.
const oldBatches = 88

// oldLast stands for the number of the last batch.
const oldLast = "LAST"

// oldPart is what the parts of WeatherVane have in common.
type oldPart struct {
	t      *testing.T
	influx string // host:port
	mouth  rueidis.Client
	ctx    context.Context // of its work, which end waits for
	stop   context.CancelFunc
	work   sync.WaitGroup
	faults atomic.Int32
}

// newOldPart connects a part to the servers. It ends with the test.
func (s *station) newOldPart() *oldPart {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &oldPart{t: s.t, influx: s.influx.Addr(), mouth: dialAt(s.t, s.redis.Addr()), ctx: ctx, stop: stop}
	s.t.Cleanup(p.end)
	return p
}

// complains fails the test. What is wrong is often wrong with each message: some are enough.
func (p *oldPart) complains(format string, args ...any) {
	if p.ctx.Err() == nil && p.faults.Add(1) <= 3 {
		p.t.Errorf(format, args...)
	}
}

func (p *oldPart) end() {
	p.stop()
	p.work.Wait()
}

// dialAt connects to Redis, or to a relay in front of it.
func dialAt(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, Password: secret, DisableCache: true,
		ForceSingleClient: true})
	if err != nil {
		t.Fatalf("connect to Redis: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// listens has hear called for each message of a kind, one after the other. It returns when everything is heard.
func (p *oldPart) listens(broker, kind string, hear func(channel, payload string)) {
	p.t.Helper()
	ear, ready := dialAt(p.t, broker), make(chan struct{})
	p.t.Cleanup(p.end) // in front of the end of its connection
	p.work.Go(func() {
		ctx := rueidis.WithOnSubscriptionHook(p.ctx, func(rueidis.PubSubSubscription) { close(ready) })
		err := ear.Receive(ctx, ear.B().Psubscribe().Pattern("weather_channel:"+kind+":*").Build(),
			func(m rueidis.PubSubMessage) { hear(m.Channel, m.Message) })
		p.complains("a part of old hears nothing of %s any more: %v", kind, err)
	})
	select {
	case <-ready:
	case <-time.After(soon):
		p.t.Fatalf("a part of old hears nothing of %s within %v", kind, soon)
	}
}

func (p *oldPart) says(payload, channel string, args ...any) {
	c := p.mouth.B().Publish().Channel("weather_channel:" + fmt.Sprintf(channel, args...)).Message(payload).Build()
	if err := p.mouth.Do(p.ctx, c).Error(); err != nil {
		p.complains("a part of old can't publish: %v", err)
	}
}

// asks sends a request to InfluxDB. What that refuses is an error.
func (p *oldPart) asks(path string, query url.Values, body string) (answer []byte, err error) {
	query.Set("db", database)
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, "http://"+p.influx+path+"?"+query.Encode(),
		strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("admin", secret)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return answer, err
}

// reads returns the rows of an answer, each with its time in front.
func (p *oldPart) reads(question string) (rows [][]any, err error) {
	text, err := p.asks("/query", url.Values{"q": {question}}, "")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		for _, series := range r.Series {
			rows = append(rows, series.Values...)
		}
	}
	return rows, nil
}

// writes writes points, whose times are in seconds.
func (p *oldPart) writes(what string, lines []string) {
	_, err := p.asks("/write", url.Values{"precision": {"s"}}, strings.Join(lines, "\n"))
	if err != nil {
		p.complains("InfluxDB refuses %s of old: %v", what, err)
	}
}

// oldTag is the value of a tag as a line has it.
func oldTag(value string) string {
	return strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `).Replace(value)
}

// oldPlace reads the channel of a batch, or of the request for one, as the original writes it: nothing is padded.
func oldPlace(channel string) (batch, hour int, last, ok bool) {
	words := strings.Split(channel, ":")
	if len(words) != 4 {
		return 0, 0, false, false
	}
	hour, ok = plainNumber(words[3], 24)
	if last = words[2] == oldLast; last {
		return oldBatches - 1, hour, true, ok
	}
	batch, good := plainNumber(words[2], oldBatches)
	return batch, hour, false, ok && good
}

// plainNumber reads a number below a bound that has nothing in front of it.
func plainNumber(text string, below int) (n int, ok bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && strconv.Itoa(n) == text && n >= 0 && n < below
}

// oldStreamer is WeatherVane's streamer. It sends the batches of an hour in order, the last one as LAST, and sends
// again what it is asked for, under its number. Its own ingester never asks for LAST; that it answers so there too
// is an assumption.
type oldStreamer struct {
	*oldPart
	hours [24][]string // payloads

	mu    sync.Mutex     // guards the below
	asked map[string]int // how often it was asked for a batch, by what the channel says
}

// newOldStreamer cuts the data set into batches of so many rows.
func (s *station) newOldStreamer(size int) *oldStreamer {
	s.t.Helper()
	lines := s.lines()
	o := &oldStreamer{oldPart: s.newOldPart(), asked: map[string]int{}}
	var rows [24][]map[string]any
	for _, line := range lines[1:] {
		row := map[string]any{}
		for i, name := range lines[0] {
			if row[name] = line[i]; name != "time" && !slices.Contains(texts, name) {
				row[name] = json.Number(line[i])
			}
		}
		at := valueOf(s.t, "time", line[0]).(time.Time)
		row["hour"] = at.Hour()
		rows[at.Hour()] = append(rows[at.Hour()], row)
	}
	for hour := range rows {
		for batch := range slices.Chunk(rows[hour], size) {
			payload, err := json.Marshal(batch)
			if err != nil {
				s.t.Fatal(err)
			}
			o.hours[hour] = append(o.hours[hour], string(payload))
		}
		if n := len(o.hours[hour]); n != oldBatches {
			s.t.Fatalf("hour %d has %d batches, want %d", hour, n, oldBatches)
		}
	}
	o.listens(s.redis.Addr(), "request", o.hear)
	return o
}

func (o *oldStreamer) sends(hour int) {
	for i, payload := range o.hours[hour] {
		batch := strconv.Itoa(i)
		if i == oldBatches-1 {
			batch = oldLast
		}
		o.says(payload, "data:%s:%d", batch, hour)
	}
}

func (o *oldStreamer) hear(channel, payload string) {
	batch, hour, _, ok := oldPlace(channel)
	if !ok || payload != strconv.Itoa(hour) {
		o.complains("the streamer of old does not understand %s with the payload %q", channel, payload)
		return
	}
	o.mu.Lock()
	o.asked[strings.TrimPrefix(channel, "weather_channel:request:")]++
	o.mu.Unlock()
	o.says(o.hours[hour][batch], "data:%d:%d", batch, hour)
}

// requests is what it was asked for.
func (o *oldStreamer) requests() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.asked)
}

// oldIngester is WeatherVane's ingester. It wants 88 batches of each hour, asks for those that it lacks once LAST
// has come, writes the hour and tells the processor. A LAST that is lost it never misses, so no test loses one in
// front of it. What it has received it never forgets, so it is good for one day.
type oldIngester struct {
	*oldPart
	mu    sync.Mutex // guards the below
	hours [24]struct {
		received [oldBatches]bool
		last     bool // LAST has come
		rows     []map[string]any
	}
	asked int // how often it asked for a batch
}

func (s *station) newOldIngester(broker string) *oldIngester {
	s.t.Helper()
	o := &oldIngester{oldPart: s.newOldPart()}
	o.listens(broker, "data", o.hear)
	o.work.Go(func() { // an answer may be lost too
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				for hour := range o.hours {
					o.request(hour)
				}
			case <-o.ctx.Done():
				return
			}
		}
	})
	return o
}

func (o *oldIngester) hear(channel, payload string) {
	batch, hour, last, ok := oldPlace(channel)
	if !ok {
		o.complains("the ingester of old does not understand %s", channel)
		return
	}
	rows, err := oldRows(payload, hour)
	if err != nil {
		o.complains("the ingester of old can't read %s: %v", channel, err)
		return
	}
	if o.take(batch, hour, last, rows) {
		o.store(hour)
	} else if last {
		o.request(hour)
	}
}

// take is true for the batch that makes an hour complete.
func (o *oldIngester) take(batch, hour int, last bool, rows []map[string]any) (complete bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := &o.hours[hour]
	h.last = h.last || last
	if h.received[batch] {
		return false
	}
	h.received[batch], h.rows = true, append(h.rows, rows...)
	return !slices.Contains(h.received[:], false)
}

// request asks for what an hour lacks whose LAST has come.
func (o *oldIngester) request(hour int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for batch, have := range o.hours[hour].received {
		if o.hours[hour].last && !have {
			o.asked++
			o.says(strconv.Itoa(hour), "request:%d:%d", batch, hour)
		}
	}
}

func (o *oldIngester) requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

// store writes an hour. Its numbers are fields, of the types that Python gives them: 40 is an integer and 40.0 a
// float, and InfluxDB takes no second type for a field.
func (o *oldIngester) store(hour int) {
	var lines []string
	o.mu.Lock()
	for _, row := range o.hours[hour].rows {
		var fields []string
		for name, v := range row {
			if n, ok := v.(json.Number); ok && name != "hour" {
				if !strings.ContainsAny(n.String(), ".eE") {
					n += "i"
				}
				fields = append(fields, name+"="+n.String())
			}
		}
		at, _ := time.Parse(timeLayout, row["time"].(string)) // oldRows has looked
		lines = append(lines, fmt.Sprintf("%s,zip_code=%s,state=%s %s %d", rowsTable, oldTag(row["zip_code"].(string)),
			oldTag(row["state"].(string)), strings.Join(fields, ","), at.Unix()))
	}
	o.mu.Unlock()
	o.writes("rows", lines)
	o.says(strconv.Itoa(hour), "processor:%d", hour)
}

// oldRows reads a payload: the columns of the data set, and the hour.
func oldRows(payload string, hour int) (rows []map[string]any, err error) {
	d := json.NewDecoder(strings.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		return nil, err
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(header), "hour")))
	for _, row := range rows {
		if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, want) {
			return nil, fmt.Errorf("a row has %v, want %v", got, want)
		}
		for name, v := range row {
			_, isText := v.(string)
			if isText != (name == "time" || slices.Contains(texts, name)) {
				return nil, fmt.Errorf("%s is %v, a %T", name, v, v)
			}
		}
		at, err := time.Parse(timeLayout, row["time"].(string))
		if err != nil || at.Hour() != hour || row["hour"] != json.Number(strconv.Itoa(hour)) {
			return nil, fmt.Errorf("a row of hour %d is of %v, hour %v (%v)", hour, row["time"], row["hour"], err)
		}
	}
	return rows, nil
}

// oldProcessor is WeatherVane's processor. It knows one day. It asks for an hour up to the next one, which for the
// last hour is 24:00, and InfluxDB refuses that: of 24 hours it reports on 23. Whose value an extreme is that
// several have, nobody said; here it is that of the lowest zip code.
type oldProcessor struct {
	*oldPart
	mu      sync.Mutex // guards the below
	told    []int      // the hours that it was told of
	refused []int      // those that InfluxDB refused
}

func (s *station) newOldProcessor() *oldProcessor {
	s.t.Helper()
	o := &oldProcessor{oldPart: s.newOldPart()}
	o.listens(s.redis.Addr(), "processor", o.hear)
	return o
}

// heard are the hours that it was told of, and what InfluxDB refused of that.
func (o *oldProcessor) heard() (told, refused []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(slices.Values(o.told)), slices.Clone(o.refused)
}

func (o *oldProcessor) hear(channel, payload string) {
	hour, ok := plainNumber(payload, 24)
	if !ok || channel != "weather_channel:processor:"+payload {
		o.complains("the processor of old does not understand %s with the payload %q", channel, payload)
		return
	}
	rows, err := o.reads(fmt.Sprintf("SELECT zip_code, state, %s FROM %s WHERE time >= '2023-09-19T%02d:00:00Z' AND "+
		"time < '2023-09-19T%02d:00:00Z'", strings.Join(measured, ", "), rowsTable, hour, hour+1))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told = append(o.told, hour); err != nil {
		o.refused = append(o.refused, hour)
		return
	}
	o.writes("reports", oldReports(rows, hour))
}

// oldReports are the points of an hour's reports, of its rows.
func oldReports(rows [][]any, hour int) (lines []string) {
	const zip, state, values = 1, 2, 3
	slices.SortFunc(rows, func(a, b []any) int { return strings.Compare(a[zip].(string), b[zip].(string)) })
	groups := map[string][][]any{}
	for _, row := range rows {
		groups[row[state].(string)] = append(groups[row[state].(string)], row)
	}
	at := theDay.Add(time.Duration(hour) * time.Hour).Unix()
	for name, group := range groups {
		tags := fmt.Sprintf("state=%s,hour=%02d", oldTag(name), hour)
		for i, field := range measured {
			value := func(row []any) float64 { return row[values+i].(float64) }
			low, high, sum := group[0], group[0], 0.0
			for _, row := range group {
				if sum += value(row); value(row) < value(low) {
					low = row
				}
				if value(row) > value(high) {
					high = row
				}
			}
			lines = append(lines, fmt.Sprintf("%s,%s avg_%s=%v %d", averagesTable, tags, field, sum/float64(len(group)), at),
				fmt.Sprintf("%s,zip_code=%s,%s min_%s=%v %d", extremesTable, low[zip], tags, field, value(low), at),
				fmt.Sprintf("%s,zip_code=%s,%s max_%s=%v %d", extremesTable, high[zip], tags, field, value(high), at))
		}
	}
	return lines
}
