package weather

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// way is how a server goes away, and comes back.
type way struct {
	name  string
	cause string // what the gate of a role says then, as a regular expression
	// counted: attempts reach the relay, and can be counted there.
	counted bool
	strike  func(o *outage)
	mend    func(o *outage) // returns when the server takes requests again
}

// faulty is what testenv's servers have in common.
type faulty interface {
	Kill()
	Restart()
	Freeze()
	Thaw()
}

var (
	killed = way{"killed", "reset|EOF|broken|closed|refused", true,
		func(o *outage) { o.server.Kill(); o.each((*relay).cut) }, func(o *outage) { o.server.Restart() }}
	frozen = way{"frozen", "deadline|time ?out|did not answer", true,
		func(o *outage) { o.server.Freeze() }, func(o *outage) { o.server.Thaw() }}
	cutOff = way{"cut off", "reset|EOF|broken|closed", true,
		func(o *outage) { o.each((*relay).reset) }, func(o *outage) { o.each((*relay).through) }}
	refusing = way{"refusing", "connection refused", false,
		func(o *outage) { o.server.Kill(); o.each((*relay).refuse) },
		func(o *outage) { o.server.Restart(); o.each((*relay).through) }}
)

// outage is a server that is away, from a certain point of the stream on.
type outage struct {
	*station
	way    way
	server faulty
	behind func(*role) *relay // the relay of a role in front of that server
	once   sync.Once
	struck chan struct{} // closed when it is away
	back   time.Time     // when the server was back
}

func (s *station) redisOutage(w way) *outage {
	return &outage{station: s, way: w, server: s.redis, behind: func(r *role) *relay { return r.broker },
		struck: make(chan struct{})}
}

func (s *station) influxOutage(w way) *outage {
	return &outage{station: s, way: w, server: s.influx, behind: func(r *role) *relay { return r.database },
		struck: make(chan struct{})}
}

func (o *outage) each(f func(*relay)) {
	for _, r := range o.roles {
		if way := o.behind(r); way != nil {
			f(way)
		}
	}
}

// strike takes the server away, once. A relay may call it before it passes the message on that it waits for.
func (o *outage) strike() {
	o.once.Do(func() {
		o.way.strike(o)
		close(o.struck)
	})
}

// at strikes when a role is about to publish a message to a channel that begins like this, for the nth time.
func (o *outage) at(name, channel string, nth int) {
	n := 0
	var mu sync.Mutex
	o.roles[name].broker.up = publishes(func(c string, _ []byte) {
		mu.Lock()
		if strings.HasPrefix(c, channel) {
			n++
		}
		now := n == nth
		mu.Unlock()
		if now {
			o.strike()
		}
	})
}

// asked strikes when a role is about to send a request to InfluxDB that begins like this and has these words, once the
// streamer has sent the last batch of an hour.
func (o *outage) asked(name, begins, words, hour string) {
	var sent atomic.Bool
	o.roles[streamer].broker.up = publishes(func(channel string, _ []byte) {
		if channel == "weather_channel:data:LAST:"+hour {
			sent.Store(true)
		}
	})
	o.roles[name].database.up = parts(func(part []byte) {
		if sent.Load() && bytes.HasPrefix(part, []byte(begins)) && bytes.Contains(part, []byte(words)) {
			o.strike()
		}
	})
}

// awaitStruck waits for the point at which the outage begins.
func (o *outage) awaitStruck(what string) {
	o.t.Helper()
	select {
	case <-o.struck:
	case <-time.After(soon):
		o.t.Fatalf("%s: not within %v", what, soon)
	}
}

// closed waits until the gates of roles say why the server is not there.
func (o *outage) closed(gate string, names ...string) {
	o.t.Helper()
	o.closedFor("outage", gate, names...)
}

// closedFor is closed for another kind of cause than an outage.
func (o *outage) closedFor(kind, gate string, names ...string) {
	o.t.Helper()
	cause := regexp.MustCompile(o.way.cause)
	for _, name := range names {
		s := o.roles[name].await("its gate is closed", func(s engine.Status) bool {
			g := gateOf(s, gate)
			return !g.Open && g.Cause != "not tried yet" && g.Cause != ""
		})
		if g := gateOf(s, gate); !cause.MatchString(g.Cause) || g.Kind != kind {
			o.t.Errorf("the gate %s of the %s is closed (%s): %q, want kind %s, and a cause like %q", gate, name, g.Kind,
				g.Cause, kind, o.way.cause)
		}
	}
}

// quiet is for how long roles are watched while a server is away.
const quiet = 4 * time.Second

// idle watches roles for a while: they try at most once a second, and compute next to nothing.
func (o *outage) idle(names ...string) {
	o.t.Helper()
	late := lateness()
	began, before := time.Now(), map[string]time.Duration{}
	for _, name := range names {
		before[name] = o.roles[name].cpu()
	}
	time.Sleep(quiet)
	used := map[string]time.Duration{}
	for _, name := range names {
		used[name] = o.roles[name].cpu() - before[name]
	}
	end := time.Now()
	took := end.Sub(began)
	most := int(math.Floor((took + late()).Seconds())) + 1
	for _, name := range names {
		part := used[name].Seconds() / took.Seconds()
		n := o.behind(o.roles[name]).attempts(began, end)
		o.t.Logf("%s: %d attempts in %.1f s, %.2f %% of a core", name, n, took.Seconds(), 100*part)
		if part >= 0.01 {
			o.t.Errorf("the %s used %.2f %% of a core while the server was %s, want less than 1 %%", name, 100*part, o.way.name)
		}
		if o.way.counted && n > most {
			o.t.Errorf("the %s tried %d times in %v, want at most once a second", name, n, took)
		}
	}
}

// lateness begins to measure how much later than it should this machine wakes a process up; the result is the most so
// far, and ends it. What is bounded by time here is so on a machine that is on time.
func lateness() (stop func() time.Duration) {
	done, most := make(chan struct{}), make(chan time.Duration)
	go func() { // stop waits
		var worst time.Duration
		for {
			asked := time.Now()
			select {
			case <-done:
				most <- worst
				return
			case <-time.After(10 * time.Millisecond):
				worst = max(worst, time.Since(asked)-10*time.Millisecond)
			}
		}
	}()
	return sync.OnceValue(func() time.Duration {
		close(done)
		return <-most
	})
}

// mend brings the server back. The gates of the roles open within a second of that: the attempt that finds it back
// begins within a second, and the rest is how long that attempt takes.
func (o *outage) mend(gate string, names ...string) {
	o.t.Helper()
	late := lateness()
	o.way.mend(o)
	back := time.Now()
	opened := map[string]time.Time{}
	for _, name := range names {
		opened[name] = o.opened(gate, o.roles[name], back)
	}
	o.back = back
	slack := 100*time.Millisecond + 2*late()
	for _, name := range names {
		took := opened[name].Sub(back)
		waited := o.behind(o.roles[name]).lastBefore(opened[name]).Sub(back)
		o.t.Logf("%s: its gate was open after %v, by an attempt that began after %v", name, took.Round(time.Millisecond),
			waited.Round(time.Millisecond))
		if waited > time.Second+slack || took > 2*time.Second+2*slack {
			o.t.Errorf("the gate %s of the %s was open %v after the server was back, by an attempt that began after %v; want "+
				"one within a second (and %v, by which this machine is late)", gate, name, took, waited, slack)
		}
	}
}

// opened waits until the gate of a role is open again, and returns since when it is. A role that did the rest of its work and
// ended before anybody looked has it in its history.
func (o *outage) opened(gate string, r *role, back time.Time) time.Time {
	o.t.Helper()
	s, ok := r.awaitOrEnd("its gate is open again", func(s engine.Status) bool { return gateOf(s, gate).Open })
	if ok {
		return gateOf(s, gate).Since
	}
	for _, e := range r.events() {
		if e.Kind == "gate.opened" && strings.HasPrefix(e.Text, gate+" ") && e.At.After(back) {
			return e.At
		}
	}
	o.t.Fatalf("the %s ended, and its gate %s did not open:\n%s", r.name, gate, r.p.Output())
	return time.Time{}
}

// through is the middle and the end of an outage: the gates of roles close, they are quiet, and go on when it is over.
func (o *outage) through(gate string, names ...string) {
	o.t.Helper()
	o.closed(gate, names...)
	o.idle(names...)
	o.mend(gate, names...)
}

// paced is a station whose windows have three batches and go out once in so long.
func paced(t *testing.T, every time.Duration, hours int) *station {
	t.Helper()
	s := newStation(t, shape{seed: testenv.Seed(t), hours: hours, zips: 110})
	for _, r := range s.roles {
		r.binary = testenv.PlainBinary(t) // time is measured
	}
	s.with(streamer, "--interval", every.String(), "--batch", "40")
	return s
}

// finish waits for the end of the stream, and compares everything. Behind the outage no gate closed again.
func (o *outage) finish() {
	o.t.Helper()
	o.station.finish()
	for name, r := range o.roles {
		for _, e := range r.events() {
			if e.Kind == "gate.closed" && e.At.After(o.back) {
				o.t.Errorf("the %s lost %s once more at %v, %v after the server was back", name, e.Text, e.At, e.At.Sub(o.back))
			}
		}
	}
}

// finish waits for the end of the stream, and compares everything.
func (s *station) finish() {
	s.t.Helper()
	s.done()
	s.roles[server].end()
	s.checkInflux()
}

var brokerRoles = []string{streamer, ingester, processor}

const (
	brokerGate   = "broker"
	databaseGate = "database"
)

// TestTimedOutages is the table of outcomes of WeatherVane's report, each row of it. Each gate is asked for its cause, each
// role is held to one attempt a second and a hundredth of a core, and to being back within a second; and whatever
// happened, the database holds every row and every report in the end.
func TestTimedOutages(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"Redis before the start":         redisBeforeTheStart,
		"Redis between hours":            redisBetweenHours,
		"Redis in the middle of an hour": redisInTheMiddle,
		"Redis while the ingester asks":  redisWhileAsking,
		"Redis before the notice":        redisBeforeTheNotice,
		"Redis over several hours":       redisOverSeveralHours,
		"InfluxDB at the ingester":       influxAtTheIngester,
		"InfluxDB at the processor":      influxAtTheProcessor,
		"InfluxDB at the reports":        influxAtTheReports,
		"InfluxDB at the API":            influxAtTheAPI,
		"nothing at all":                 nothingAtAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func redisBeforeTheStart(t *testing.T) {
	s := paced(t, 100*time.Millisecond, 4)
	o := s.redisOutage(refusing)
	o.strike()
	for _, r := range s.roles {
		if r.database != nil {
			r.database.through()
		}
		r.again()
	}
	o.through(brokerGate, brokerRoles...)
	o.finish()
}

// redisBetweenHours strikes when a window is reported on and the next one has not begun.
func redisBetweenHours(t *testing.T) {
	s := paced(t, 4*time.Second, 3)
	o := s.redisOutage(killed)
	// The processor is done with the first window, and says so.
	o.at(processor, "weather_channel:follow:next:2", 1)
	s.start()
	o.awaitStruck("the first window is reported on")
	if n := number(line(s.roles[streamer].await("it runs", func(engine.Status) bool { return true }), "windows"), "sent"); n != 1 {
		t.Errorf("%d windows were sent, want one: the outage is not between hours", n)
	}
	o.through(brokerGate, brokerRoles...)
	o.finish()
}

// redisInTheMiddle strikes when two batches of a window are out and the last one is not.
func redisInTheMiddle(t *testing.T) {
	s := paced(t, time.Second, 4)
	o := s.redisOutage(frozen)
	o.at(streamer, "weather_channel:data:LAST:1", 1)
	s.start()
	o.awaitStruck("the last batch of the second window goes out")
	o.through(brokerGate, brokerRoles...)
	o.finish()
}

// redisWhileAsking loses a batch, and strikes when the ingester asks for it.
func redisWhileAsking(t *testing.T) {
	s := paced(t, time.Second, 4)
	o := s.redisOutage(cutOff)
	var once sync.Once
	s.roles[ingester].broker.down = frames(func(f frame) (out [][]byte) {
		out = [][]byte{f.raw}
		if channel, _, ok := f.delivered(); ok && channel == "weather_channel:data:1:1" {
			once.Do(func() { out = nil })
		}
		return out
	})
	o.at(ingester, "weather_channel:ask:again:2", 1)
	s.start()
	o.awaitStruck("the ingester asks for the second window")
	for _, w := range s.windows() {
		if w.Number == 2 && (w.State != "open" || fmt.Sprint(w.Missing) != "[1]") {
			t.Errorf("the second window is %+v, want it to be open, and to lack batch 1 alone", w)
		}
	}
	o.through(brokerGate, brokerRoles...)
	o.finish()
}

// redisBeforeTheNotice strikes when a window is stored, and the processor is about to be told.
func redisBeforeTheNotice(t *testing.T) {
	s := paced(t, time.Second, 4)
	o := s.redisOutage(killed)
	o.at(ingester, "weather_channel:stored:notice:2", 1)
	s.start()
	o.awaitStruck("the second window is stored")
	const second = "time >= '2023-09-19T01:00:00Z' AND time < '2023-09-19T02:00:00Z'"
	if n := len(influxRows(t, s.influx, `SELECT zip_code, temp_c FROM weather_data WHERE `+second)); n != 110 {
		t.Errorf("%d rows of the second window are stored, want 110", n)
	}
	if n := len(influxRows(t, s.influx, `SELECT * FROM weather_averages WHERE `+second)); n != 0 {
		t.Errorf("%d averages of the second window are stored, want none: it was not told yet", n)
	}
	o.through(brokerGate, brokerRoles...)
	o.finish()
}

// redisOverSeveralHours lasts until the time of three windows has come.
func redisOverSeveralHours(t *testing.T) {
	s := paced(t, time.Second, 7)
	o := s.redisOutage(cutOff)
	o.at(streamer, "weather_channel:data:0:1", 1)
	s.start()
	o.awaitStruck("the second window begins")
	o.closed(brokerGate, brokerRoles...)
	o.idle(brokerRoles...)
	s.roles[streamer].await("three windows wait for the broker", func(s engine.Status) bool {
		return number(line(s, "windows"), "not sent yet") >= 3+2 // of which two wait for their time
	})
	o.mend(brokerGate, brokerRoles...)
	o.finish()
}

func influxAtTheIngester(t *testing.T) {
	s := paced(t, time.Second, 2)
	o := s.influxOutage(killed)
	o.asked(ingester, "POST /write", "", "1")
	s.start()
	o.awaitStruck("the ingester writes the second window")
	o.through(databaseGate, ingester)
	o.finish()
}

func influxAtTheProcessor(t *testing.T) {
	s := paced(t, time.Second, 2)
	o := s.influxOutage(frozen)
	o.asked(processor, "", rowsTable, "1")
	s.start()
	o.awaitStruck("the processor asks for the rows of the second window")
	o.through(databaseGate, processor)
	o.finish()
}

// influxAtTheReports strikes when the report is computed, and about to be written.
func influxAtTheReports(t *testing.T) {
	s := paced(t, time.Second, 2)
	o := s.influxOutage(cutOff)
	o.asked(processor, "POST /write", "", "1")
	s.start()
	o.awaitStruck("the processor writes the reports of the second window")
	o.through(databaseGate+"-reports", processor)
	o.finish()
}

// influxAtTheAPI strikes at a question. What is asked then is answered with what was known and how old it is, or with
// nothing; and never with "no data".
func influxAtTheAPI(t *testing.T) {
	s := paced(t, 100*time.Millisecond, 3)
	o := s.influxOutage(killed)
	s.start()
	s.done()
	api := s.roles[server]
	const question = "/avg?state=State+07&hour=1"
	api.await("it asks the database", func(s engine.Status) bool { return gateOf(s, databaseGate).Open })
	status, _, before := api.get(question)
	if status != 200 || !strings.Contains(before, "avg_temp_c") {
		t.Fatalf("%s: got %d %s", question, status, before)
	}
	api.database.reads(parts(func([]byte) { o.strike() }))
	api.database.cut()
	for path, known := range map[string]bool{question: true, "/avg?state=State+08&hour=2": false, "/state_extremes?hour=0": false} {
		status, header, body := api.get(path)
		var said struct {
			Error string          `json:"error"`
			Age   *float64        `json:"age_seconds"`
			Last  json.RawMessage `json:"last_answer"`
		}
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			t.Errorf("%s: got %q: %v", path, body, err)
			continue
		}
		if status != 503 || header.Get("Retry-After") == "" || said.Error == "" || strings.Contains(body, "goroutine") {
			t.Errorf("%s: got %d, Retry-After %q, %s; want 503 with both", path, status, header.Get("Retry-After"), body)
		}
		if known != (said.Age != nil) || known && string(said.Last) != strings.TrimSpace(before) {
			t.Errorf("%s: got %s, want the last answer %v: %s", path, body, known, before)
		}
	}
	o.awaitStruck("the API asks")
	o.through(databaseGate, server)
	if status, _, after := api.get(question); status != 200 || after != before {
		t.Errorf("%s: got %d %s, want %s", question, status, after, before)
	}
	o.finish()
}

// nothingAtAll is the whole run, through the API too.
func nothingAtAll(t *testing.T) {
	s := paced(t, 50*time.Millisecond, 24)
	s.start()
	s.done()
	s.askAll()
	s.finish()
}
