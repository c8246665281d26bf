package weather

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// mixture says which parts of a run are of old, and what the broker loses in front of the ingester.
type mixture struct {
	streamer, ingester, processor bool
	// loses: 30 % of what has a number, and LAST of the hours for which it is true. Nil is nothing at all.
	loses func(hour int) bool
}

// TestMixedWithOld runs the original's day with some parts of WeatherVane and the others ours, in every mixture
// that there is, or some of them. Afterwards the rows and the reports are compared in full, and our API is asked for them. What the
// parts of old can't do limits that, as is said at each: there is no report of the last hour by the processor of
// old, no text in the rows by the ingester of old, and in front of that no LAST is lost.
func TestMixedWithOld(t *testing.T) {
	some := func(hour int) bool { return hour%3 == 2 } // the last one of the day is among them
	none := func(int) bool { return false }
	mixtures := map[string]mixture{
		"streamer":                  {streamer: true},
		"streamer and lossy broker": {streamer: true, loses: some},
		"ingester":                  {ingester: true, loses: none},
		"processor":                 {processor: true},
		"streamer and ingester":     {streamer: true, ingester: true},
		"streamer and processor":    {streamer: true, processor: true},
		"ingester and processor":    {ingester: true, processor: true},
	}
	for _, name := range testenv.Some(t, 2, slices.Sorted(maps.Keys(mixtures))) {
		m := mixtures[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := m.begin(t)
			r.stream()
			r.await()
			r.compare()
		})
	}
}

// The size of an hour: 88 batches, of which the last one is smaller.
const (
	oldRowsOfBatch = 3
	oldRowsOfHour  = oldBatches*oldRowsOfBatch - 2
	hoursOfDay     = 24
)

// mixed is a run of parts of old, which are nil where ours stand, and ours.
type mixed struct {
	*station
	mixture
	old struct {
		streamer  *oldStreamer
		ingester  *oldIngester
		processor *oldProcessor
	}
	lost *losses
	want *expected
}

// begin starts everything but the streamer.
func (m mixture) begin(t *testing.T) *mixed {
	t.Helper()
	seed := testenv.Seed(t)
	s := newStation(t, shape{seed: seed, hours: hoursOfDay, zips: oldRowsOfHour})
	// Seven days at once are much for the race detector, which the roles have in the other tests.
	s.plain()
	s.influx.Query(t, "", "CREATE DATABASE "+database) // nobody of old does it
	s.with(streamer, "--interval", "100ms", "--batch", fmt.Sprint(oldRowsOfBatch))
	s.with(processor, "--day", theDay.Format(time.DateOnly))
	r := &mixed{station: s, mixture: m, want: s.expected()}
	r.lost = &losses{seed: seed, last: m.loses, met: map[string]int{}}
	ear := s.roles[ingester].broker
	if m.loses != nil {
		ear.down = frames(r.lost.hook)
	}
	s.roles[server].start()
	listeners := int64(0)
	if m.processor {
		r.old.processor, listeners = s.newOldProcessor(), listeners+1
	} else {
		s.roles[processor].start()
		listeners += 2
	}
	if m.ingester {
		ear.through()
		r.old.ingester, listeners = s.newOldIngester(ear.addr), listeners+1
	} else {
		s.roles[ingester].start()
		listeners += 3
	}
	s.awaitListeners(listeners)
	return r
}

// stream sends the day. A streamer of old goes on when an ingester of ours has begun with the hour: the original
// leaves it five minutes, and an hour of which nothing is heard is not missed.
func (r *mixed) stream() {
	r.t.Helper()
	if !r.mixture.streamer {
		r.roles[streamer].start()
		return
	}
	r.old.streamer = r.newOldStreamer(oldRowsOfBatch)
	for hour := range hoursOfDay {
		r.old.streamer.sends(hour)
		if !r.mixture.ingester {
			r.until("the ingester begins with the hour", func() bool { return len(r.windows()) > hour })
		}
	}
}

// await waits until everything is in the database, and ends what has no end by itself.
func (r *mixed) await() {
	r.t.Helper()
	reported := hoursOfDay
	if r.mixture.processor {
		reported--
	}
	r.awaitFields(rowsTable, "temp_c$", hoursOfDay*oldRowsOfHour)
	r.awaitFields(averagesTable, "avg_", reported*len(measured)*50)
	r.awaitFields(extremesTable, "(min|max)_", reported*2*len(measured)*50)
	if r.mixture.processor {
		r.until("the processor of old is told of each hour", func() bool {
			told, _ := r.old.processor.heard()
			return len(told) >= hoursOfDay
		})
	}
	if !r.mixture.streamer && r.mixture.ingester {
		r.roles[streamer].await("it has sent the day", func(s engine.Status) bool {
			return number(line(s, "windows"), "sent") == hoursOfDay
		})
	}
	if !r.mixture.ingester {
		r.awaitWindows()
	}
	r.checkAPI()
	for name, role := range r.roles {
		switch {
		case role.p == nil:
		case name == streamer && !r.mixture.ingester:
			r.done(streamer) // which hears that everything has come
		case name == server:
			role.end()
		default: // nobody of old says that there is an end
			role.interrupt()
		}
	}
}

// until waits for something; no longer than until a part of old complains.
func (r *mixed) until(what string, done func() bool) {
	r.t.Helper()
	testenv.Until(r.t, soon, what, func() bool { return r.t.Failed() || done() })
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// awaitFields waits until fields of a table, whose names begin so, have so many values altogether.
func (r *mixed) awaitFields(table, begins string, want int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d values of %s in %s", want, begins, table), func() bool {
		time.Sleep(100 * time.Millisecond) // the server has work enough
		got := int64(0)
		for _, row := range influxRows(r.t, r.influx, fmt.Sprintf("SELECT COUNT(/^%s/) FROM %q", begins, table)) {
			delete(row, "time")
			for _, v := range row {
				n, _ := v.(json.Number).Int64()
				got += n
			}
		}
		return got >= int64(want)
	})
}

// awaitWindows waits until the ingester of ours has told of each window; a processor of old does not say whether
// it has done with that.
func (r *mixed) awaitWindows() {
	r.t.Helper()
	want := "told"
	if r.mixture.processor {
		want = "stored"
	}
	r.until("all windows are "+want, func() bool {
		n := 0
		for _, w := range r.windows() {
			if string(w.State) == want {
				n++
			}
		}
		return n == hoursOfDay
	})
	for _, w := range r.windows() {
		if w.Batches != oldBatches || len(w.Missing) > 0 || w.Rows != oldRowsOfHour || w.Notices != 1 ||
			(w.Epoch == "old") != r.mixture.streamer {
			r.t.Errorf("the window is %+v, want its %d batches, and one notice", w, oldBatches)
		}
	}
}

// checkAPI asks the API for each hour, and some states.
func (r *mixed) checkAPI() {
	r.t.Helper()
	for _, at := range r.want.hours {
		if at.Hour() == hoursOfDay-1 && r.mixture.processor {
			continue
		}
		r.askStates(r.want, at)
		r.askState(r.want, stateOf(at.Hour()+26), at) // strange ones too
	}
	status, _, body := r.roles[server].get("/avg?state=State+01&hour=23")
	if want := map[bool]int{false: 200, true: 404}[r.mixture.processor]; status != want {
		r.t.Errorf("the last hour: got %d %s, want %d", status, body, want)
	}
}

// compare compares the database with the data set, and looks at what was asked and told.
func (r *mixed) compare() {
	r.t.Helper()
	want := r.want
	for _, row := range want.rows {
		if r.mixture.ingester {
			delete(row, "name")
			delete(row, "wind_dir")
		}
	}
	for _, table := range []map[string]record{want.averages, want.extremes} {
		if !r.mixture.processor {
			break
		}
		maps.DeleteFunc(table, func(_ string, row record) bool { return row["hour"] == "23" })
		for _, row := range table {
			delete(row, "complete")
			delete(row, "lost")
			delete(row, "revision")
		}
	}
	want.check(r.t, influxTables(r.influx))
	for name, role := range r.roles {
		if name != server && role.p != nil {
			r.balanced(name)
		}
	}
	if r.mixture.processor {
		r.checkTold()
	}
	if r.loses != nil {
		r.checkRepaired()
	}
}

// checkTold: the processor of old was told of each hour once, and InfluxDB refused the last one.
func (r *mixed) checkTold() {
	r.t.Helper()
	told, refused := r.old.processor.heard()
	day := make([]int, hoursOfDay)
	for hour := range day {
		day[hour] = hour
	}
	if !slices.Equal(told, day) || !slices.Equal(refused, day[hoursOfDay-1:]) {
		r.t.Errorf("the processor of old was told of %v, and InfluxDB refused %v; want each hour once, and the "+
			"last one", told, refused)
	}
}

// checkRepaired: batches were lost, and asked for in the words of the original.
func (r *mixed) checkRepaired() {
	r.t.Helper()
	lost, lasts := r.lost.all()
	if r.mixture.ingester {
		if n := r.old.ingester.requests(); lost < 400 || n < lost {
			r.t.Errorf("%d batches were lost, and %d times the ingester of old asked for one", lost, n)
		}
		return
	}
	asked := r.old.streamer.requests()
	n := 0
	for _, times := range asked {
		n += times
	}
	r.t.Logf("lost: %d batches and %d times LAST; the streamer of old was asked %d times", lost, lasts, n)
	if lost < 400 || lasts < hoursOfDay/3 || n < lost {
		r.t.Error("the broker was not lossy, or what it lost was not asked for")
	}
	for hour := range hoursOfDay {
		if key := fmt.Sprintf("LAST:%d", hour); r.loses(hour) && asked[key] == 0 {
			r.t.Errorf("%s was lost, and nobody asked for it by that name", key)
		}
	}
}

// losses is a broker that loses batches. What becomes of a message follows from its channel and from how many came on
// that: so a seed loses the same ones each time.
type losses struct {
	seed uint64
	last func(hour int) bool

	mu    sync.Mutex // guards the below
	met   map[string]int
	lost  int // batches with a number
	lasts int
}

func (l *losses) all() (lost, lasts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.lasts
}

// hook is what becomes of a frame on its way to the ingester.
func (l *losses) hook(f frame) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	channel, _, ok := f.delivered()
	if !ok || !strings.HasPrefix(channel, "weather_channel:data:") {
		return [][]byte{f.raw}
	}
	l.met[channel]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(channel))
	_, hour, last, _ := oldPlace(channel)
	switch {
	case last && l.last(hour):
		l.lasts++
		return nil
	case !last && rand.New(rand.NewPCG(l.seed+uint64(l.met[channel]), h.Sum64())).IntN(100) < 30:
		l.lost++
		return nil
	}
	return [][]byte{f.raw}
}

// lines are those of the data set.
func (s *station) lines() [][]string {
	s.t.Helper()
	text, err := os.ReadFile(s.input)
	if err != nil {
		s.t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}
