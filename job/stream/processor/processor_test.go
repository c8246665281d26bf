package processor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/redis"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// hostile is a broker that drops, doubles, holds back and changes what it is given.
type hostile struct {
	connector.Broker
	mu   sync.Mutex // guards what is below
	rng  *rand.Rand
	late []connector.Message
}

func (h *hostile) Publish(ctx context.Context, m connector.Message) error {
	for _, m := range h.turn(m) {
		if err := h.Broker.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// turn is what goes out instead of a message.
func (h *hostile) turn(m connector.Message) (out []connector.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch p := h.rng.Float64(); {
	case p < 0.3:
	case p < 0.4:
		out = append(out, m, m)
	case p < 0.5:
		h.late = append(h.late, m)
	case p < 0.6:
		m.Payload = bytes.Replace(m.Payload, []byte("1"), []byte("2"), 1)
		out = append(out, m)
	default:
		out = append(out, m)
	}
	if len(h.late) > 3 {
		out, h.late = append(out, h.late...), nil
	}
	return out
}

// TestReports: over a network that loses, doubles, reorders and spoils, with lives that end and rows that
// come late, the tables hold what the rows give, to the number, each window in the revision of its last
// notice.
func TestReports(t *testing.T) {
	h := &hostile{Broker: embedded(t), rng: rand.New(rand.NewPCG(8, 4))}
	r := newRig(t, h)
	n := newNotices(t, h, "i")
	var all []observation
	hours := func(rows int, which ...int) {
		var more []observation
		for _, i := range which {
			more = append(more, observations(uint64(len(all)), hour0.Add(time.Duration(i)*time.Hour), rows)...)
		}
		all = append(all, more...)
		r.store(more)
		for _, i := range which {
			n.add(hour0.Add(time.Duration(i)*time.Hour), rows)
		}
	}
	hours(300, 0, 1, 2, 3, 4, 5)
	r.run(func(*collect.Job) {
		until(t, "six notices are done with", func() bool { return n.followed() == 6 })
	})
	hours(100, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25) // past midnight
	late := map[string]int64{"2023-09-19T23": 2, "2023-09-19T03": 2}
	hours(7, 23, 3)
	r.run(func(*collect.Job) {
		until(t, "all notices are done with", func() bool { return n.followed() == 28 })
		until(t, "the reports are there", func() bool {
			_, revisions := r.reports()
			return len(revisions) == 26 && revisions["2023-09-19T23"] == 2 && revisions["2023-09-19T03"] == 2
		})
	})
	r.compare(all)
	_, revisions := r.reports()
	for hour, revision := range revisions {
		if want := max(late[hour], 1); revision != want {
			t.Errorf("%s has revision %d, want %d", hour, revision, want)
		}
	}
	if got := r.events("report.empty"); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// TestDeathAtEveryPoint: whenever a life ends, the next one goes on behind the last commit, with no notice
// computed twice behind its commit and none left out.
func TestDeathAtEveryPoint(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	var want []string
	for i := range 8 {
		from := hour0.Add(time.Duration(i) * time.Hour)
		r.store(observations(1, from, 20))
		n.add(from, 20)
	}
	var done []string
	for at := 0; len(done) < 8; at++ {
		r.live(func(l *life) {
			switch p := l.report(); at % 4 {
			case 0: // it dies before the commit
			case 1: // and before anybody is told of it
				if _, err := l.job.Intake().Take(l.ctx, p, collect.Follow); err != nil {
					t.Error(err)
				}
				done = append(done, of(p))
			case 2: // another page was fetched meanwhile
				if len(done) < 7 {
					if q := l.report(); of(q) == of(p) {
						t.Errorf("%s came twice", of(q))
					}
				}
				l.commit(p)
				done = append(done, of(p))
			default:
				l.commit(p)
				done = append(done, of(p))
			}
		})
		if at > 40 {
			t.Fatal("it does not come to an end")
		}
	}
	for i := range 8 {
		want = append(want, fmt.Sprintf("19T%02d r1 true 0", i))
	}
	if fmt.Sprint(done) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", done, want)
	}
	// Rows that come late are the next revision, also of two pages in a row and in another life.
	for range 3 {
		n.add(hour0.Add(5*time.Hour), 20)
	}
	r.live(func(l *life) {
		p := l.report()
		q := l.report() // before the commit of the one before
		l.commit(p)
		l.commit(q)
		if of(p) != "19T05 r2 true 0" || of(q) != "19T05 r3 true 0" {
			t.Errorf("got %s and %s", of(p), of(q))
		}
	})
	asked := r.tables.asked.Load()
	r.live(func(l *life) {
		p := l.report()
		l.commit(p)
		if of(p) != "19T05 r4 true 0" {
			t.Errorf("got %s", of(p))
		}
	})
	if got := r.tables.asked.Load() - asked; got != 1 {
		t.Errorf("of a window whose revision is known the database was asked %d questions, want 1", got)
	}
}

// TestOnlyTheDurableIsTold: an ingester hears that a notice is done with when its report is durable, however
// long that takes, and hears it again if it did not.
func TestOnlyTheDurableIsTold(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 20))
	n.add(hour0, 20)
	r.live(func(l *life) {
		p := l.report()
		wait := func() {
			ctx, cancel := context.WithTimeout(l.ctx, 1500*time.Millisecond)
			defer cancel()
			if q, err := l.Fetch(ctx, connector.Request{Cursor: l.cursor}); err == nil {
				t.Errorf("got %s", of(q))
			}
		}
		wait()
		if got := n.followed(); got != 0 {
			t.Errorf("the ingester was told that %d notices are done with, and none is durable", got)
		}
		l.commit(p)
		until(t, "the ingester is told", func() bool { return n.followed() == 1 })
	})
	r.run(func(*collect.Job) {
		for range 2 {
			n.mu.Lock()
			n.next = 1 // as if it had not heard
			n.mu.Unlock()
			until(t, "the ingester is told again", func() bool { return n.followed() == 1 })
		}
	})
}

// TestInOrder: a window behind all reports asks for none; one that is not, does, when the store knows nothing of it.
func TestInOrder(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	for i := range 4 {
		r.store(observations(1, hour0.Add(time.Duration(i)*time.Hour), 50))
	}
	for i := 1; i < 4; i++ {
		n.add(hour0.Add(time.Duration(i)*time.Hour), 50)
	}
	there := func(window string) func() bool {
		return func() bool { _, revisions := r.reports(); return revisions[window] == 1 }
	}
	r.run(func(*collect.Job) {
		until(t, "the reports are there", there("2023-09-19T03"))
		if asked := r.tables.made.Load(); asked != 0 {
			t.Errorf("it asked for reports %d times, want none", asked)
		}
		n.add(hour0, 50)
		until(t, "that of before is there", there("2023-09-19T00"))
		if asked := r.tables.made.Load(); asked != 2 {
			t.Errorf("it asked for reports of the window before %d times, want once for each table", asked)
		}
	})
}

// TestRevisionsOutliveTheStore: a store that is new, or went back, goes on above what the tables hold.
func TestRevisionsOutliveTheStore(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 50))
	for range 3 {
		n.add(hour0, 50)
	}
	revision := func() int64 {
		_, revisions := r.reports()
		return revisions["2023-09-19T00"]
	}
	r.run(func(*collect.Job) { until(t, "revision 3 is there", func() bool { return revision() == 3 }) })
	r.dir = t.TempDir() // which knows no notice, and is given all
	r.run(func(*collect.Job) { until(t, "revision 6 is there", func() bool { return revision() == 6 }) })
	if n.followed() != 3 {
		t.Errorf("%d notices are done with, want 3", n.followed())
	}

	// The store of another life remembers revision 1.
	st, err := store.Open(engine.JobDir(r.dir, "reports"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	lineage := st.Lineage()
	err = errors.Join(st.NewLineage(), st.Update(func(tx *store.Tx) error {
		tx.Set(keyRevision(hour0), store.Key(nil).U64(1).Raw(lineage[:]))
		return nil
	}), st.Close())
	if err != nil {
		t.Fatal(err)
	}
	n.add(hour0, 50)
	r.live(func(l *life) {
		if p := l.report(); of(p) != "19T00 r7 true 0" {
			t.Errorf("got %s, want revision 7", of(p))
		}
	})
}

// TestLostRows: a window that lacks rows says so in its report.
func TestLostRows(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 50))
	n.add(hour0, 50, func(s *wire.Stored) { s.Lost = 500 })
	r.live(func(l *life) {
		if p := l.report(); of(p) != "19T00 r1 false 500" {
			t.Errorf("got %s", of(p))
		}
	})
}

// TestNoRows: a notice of rows that are not there makes no report, and a person is told.
func TestNoRows(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	n.add(hour0, 50)
	n.add(hour0.Add(time.Hour), 0)
	r.store(observations(1, hour0.Add(2*time.Hour), 50))
	n.add(hour0.Add(2*time.Hour), 50)
	r.live(func(l *life) {
		for _, want := range []string{"nothing", "nothing", "19T02 r1 true 0"} {
			p := l.report()
			l.commit(p)
			if of(p) != want {
				t.Errorf("got %s, want %s", of(p), want)
			}
		}
		until(t, "the ingester knows", func() bool { return n.followed() == 3 })
	})
	if got := r.events("report.empty"); len(got) != 2 || !strings.Contains(got[0], "from 2023-09-19T00:00:00Z is said to be stored, "+
		"and table weather_data has no rows of it") || !strings.Contains(got[1], "has no rows, so there is no report") {
		t.Errorf("got events %q", got)
	}
}

// TestDatabaseAway: while the database is away its gate says why, it is tried once a second, the broker is
// heard, and within a second of its coming back the report is made.
func TestDatabaseAway(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 50))
	r.run(func(job *collect.Job) {
		until(t, "the broker is heard", func() bool { return n.told().Oldest == 1 && job.Gates()[0].Open })
		r.tables.fail(fault.New(fault.Transient, "connection refused"))
		n.add(hour0, 50)
		until(t, "the gate is closed", func() bool { return !gateOf(job, "database").Open })
		began, asked := time.Now(), r.tables.asked.Load()
		if g := gateOf(job, "database"); g.Kind != "outage" || !strings.Contains(g.Cause, "connection refused") {
			t.Errorf("got %+v", g)
		}
		for range 500 { // many more than a broker would keep
			n.publish(n.told().Message(names))
		}
		until(t, "it was tried three times", func() bool { return r.tables.asked.Load()-asked >= 3 })
		if took := time.Since(began); took < 2900*time.Millisecond {
			t.Errorf("three attempts in %v, want one a second", took)
		}
		if g := gateOf(job, "broker"); !g.Open {
			t.Errorf("the broker's gate is closed: %s", g.Cause)
		}
		r.tables.fail(nil)
		back := time.Now()
		until(t, "the report is there", func() bool { _, revisions := r.reports(); return len(revisions) == 1 })
		if took := time.Since(back); took > 1900*time.Millisecond {
			t.Errorf("the report came %v after the database", took)
		}
		if g := gateOf(job, "database"); !g.Open {
			t.Errorf("got %+v", g)
		}
	})
	if got := r.events("gate.closed"); len(got) != 1 || !strings.HasPrefix(got[0], "database: connection refused") {
		t.Errorf("got %q", got)
	}
}

// TestDatabaseHangs: a database that does not answer keeps nobody from hearing the broker, or from ending.
func TestDatabaseHangs(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 50))
	r.tables.hangs.Store(true)
	n.add(hour0, 50)
	r.live(func(l *life) {
		first, err := l.fetch()
		if err != nil {
			t.Fatal(err)
		}
		l.commit(first)
		ctx, cancel := context.WithCancel(l.ctx)
		fetched := make(chan error, 1)
		go func() { // read below
			_, err := l.Fetch(ctx, connector.Request{Cursor: l.cursor})
			fetched <- err
		}()
		until(t, "the database is asked", func() bool { return r.tables.rows.Load() == 1 })
		for range 5000 {
			n.publish(n.told().Message(names))
		}
		select {
		case err := <-fetched:
			t.Errorf("it came back with %v", err)
		case <-time.After(100 * time.Millisecond): // what was published is taken by then, or makes it end
		}
		cancel()
		if err := <-fetched; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	r.tables.hangs.Store(false)
	r.live(func(l *life) {
		if p := l.report(); of(p) != "19T00 r1 true 0" {
			t.Errorf("got %s", of(p))
		}
	})
}

// TestBrokerAway: a broker that dies is told with its cause, and what was said while nobody heard comes when
// it is back.
func TestBrokerAway(t *testing.T) {
	server := testenv.Redis(t)
	open := func() connector.Broker {
		b, err := redis.OpenBroker(redis.BrokerConfig{URL: "redis://" + server.Addr(), Password: "geheim123", Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	r := newRig(t, open())
	n := newNotices(t, open(), "i")
	r.store(observations(1, hour0, 50))
	r.store(observations(1, hour0.Add(time.Hour), 50))
	r.run(func(job *collect.Job) {
		n.add(hour0, 50)
		until(t, "the first report is there", func() bool { _, revisions := r.reports(); return len(revisions) == 1 })
		server.Kill()
		until(t, "the gate says why", func() bool {
			g := gateOf(job, "broker")
			return !g.Open && g.Kind == "outage" && strings.Contains(g.Cause, server.Addr())
		})
		if g := gateOf(job, "database"); !g.Open {
			t.Errorf("the database's gate is closed: %+v", g)
		}
		n.add(hour0.Add(time.Hour), 50)
		server.Restart()
		back := time.Now()
		until(t, "the gate is open", func() bool { return gateOf(job, "broker").Open })
		if took := time.Since(back); took > 1900*time.Millisecond {
			t.Errorf("the gate opened %v after the broker was back", took)
		}
		until(t, "the second report is there", func() bool { _, revisions := r.reports(); return len(revisions) == 2 })
	})
	if revisions := func() map[string]int64 { _, v := r.reports(); return v }(); revisions["2023-09-19T00"] != 1 {
		t.Errorf("got %v", revisions)
	}
}

// window says what a spool gives.
type window struct {
	ok    bool
	err   error
	rows  []arrow.RecordBatch
	calls int
}

func (w *window) give(_ context.Context, _ wire.Stored, yield func(arrow.RecordBatch) error) (bool, error) {
	w.calls++
	for _, b := range w.rows {
		if err := yield(b); err != nil {
			return false, err
		}
	}
	return w.ok, w.err
}

// TestSpool: rows come from the spool where that has the window alone, and else from the database.
func TestSpool(t *testing.T) {
	all := observations(1, hour0, 50)
	beside := append(observations(2, hour0.Add(-time.Minute), 1), observations(3, hour0.Add(time.Hour), 30)...)
	mixed := batchOf(append(beside, all...))
	whole := []arrow.RecordBatch{mixed.NewSlice(0, 40), mixed.NewSlice(40, 81)}
	unfit := array.NewRecordBatch(arrow.NewSchema(weather.Fields()[1:], nil), batchOf(all).Columns()[1:], 50)
	less := array.NewRecordBatch(arrow.NewSchema(weather.Fields()[:5], nil), batchOf(all).Columns()[:5], 50)
	for name, c := range map[string]struct {
		window
		shared   bool
		database int64 // questions
		event    string
	}{
		"held":      {window{ok: true, rows: whole}, false, 0, ""},
		"shared":    {window{ok: true, rows: whole[:1]}, true, 1, ""},
		"let go":    {window{rows: whole[:1]}, false, 1, ""},
		"empty":     {window{ok: true}, false, 1, ""},
		"broken":    {window{rows: whole[:1], err: errors.New("disk on fire")}, false, 1, "disk on fire"},
		"no time":   {window{ok: true, rows: []arrow.RecordBatch{unfit}}, false, 1, "no column time"},
		"no column": {window{ok: true, rows: []arrow.RecordBatch{less}}, false, 1, "no column humidity"},
	} {
		t.Run(name, func(t *testing.T) {
			b := embedded(t)
			r := newRig(t, b)
			n := newNotices(t, b, "i")
			r.change = func(cfg *Config) { cfg.Window = c.give }
			r.store(append(all, beside...))
			n.add(hour0, 50, func(s *wire.Stored) { s.Shared = c.shared })
			var got connector.Page
			r.live(func(l *life) {
				got = l.report()
				l.commit(got)
			})
			if asked := r.tables.rows.Load(); asked != c.database {
				t.Errorf("the database was asked %d times, want %d", asked, c.database)
			}
			var rows []string
			for i := range int(got.Rows.NumRows()) {
				if got.Rows.Column(0).ValueStr(i) == "weather_averages" {
					at := got.Rows.Schema().FieldIndices("weather_averages.avg_temp_c")[0]
					rows = append(rows, got.Rows.Column(at-1).ValueStr(i)+" "+got.Rows.Column(at).ValueStr(i))
				}
			}
			var want []string
			values := plain(all)
			for _, state := range []string{"State A", "State B", "State C", "State D", "State E", "State F"} {
				v := values[cell{"weather_averages", "2023-09-19T00", state, "", "avg_temp_c"}]
				want = append(want, fmt.Sprint(state, " ", v))
			}
			if fmt.Sprint(rows) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", rows, want)
			}
			events := strings.Join(r.events("spool.unread"), "; ")
			if (c.event == "") != (events == "") || !strings.Contains(events, c.event) {
				t.Errorf("got events %q, want %q", events, c.event)
			}

		})
	}
}

// TestOnce: when the ingester is at its end and all is done with, the job ends by itself; and not before the ingester has
// heard it, which would wait for ever.
func TestOnce(t *testing.T) {
	for _, lost := range []int{0, 5} {
		t.Run(fmt.Sprintf("%d words lost", lost), func(t *testing.T) { once(t, lost) })
	}
}

func once(t *testing.T, lost int) {
	b := embedded(t)
	r := newRig(t, b)
	r.change = func(cfg *Config) { cfg.Once = true }
	n := newNotices(t, b, "i")
	n.lose = lost
	for i := range 3 {
		from := hour0.Add(time.Duration(i) * time.Hour)
		r.store(observations(1, from, 20))
		n.add(from, 20)
	}
	n.ends(true)
	ended := make(chan struct{})
	r.engine(func(ctx context.Context, env engine.Env) (engine.Job, error) {
		_, job, err := r.build(ctx, env)
		return hand{job, func(ctx context.Context) error {
			defer close(ended)
			return job.Run(ctx)
		}}, err
	}, func() {
		select {
		case <-ended:
		case <-time.After(soon):
			t.Error("it does not end")
		}
	})
	if _, revisions := r.reports(); len(revisions) != 3 || n.followed() != 3 {
		t.Errorf("got %v, %d notices followed", revisions, n.followed())
	}
}

// TestOnceBesideItsIngester: with an ingester in the same process the source ends once that has done its work, whatever
// it says of an end before; then it needs no word of it.
func TestOnceBesideItsIngester(t *testing.T) {
	for _, says := range []bool{true, false} {
		b := embedded(t)
		r := newRig(t, b)
		done := make(chan struct{})
		r.change = func(cfg *Config) { cfg.Once, cfg.Ended = true, done }
		n := newNotices(t, b, "i")
		n.ends(says)
		ended := make(chan struct{})
		r.engine(func(ctx context.Context, env engine.Env) (engine.Job, error) {
			_, job, err := r.build(ctx, env)
			return hand{job, func(ctx context.Context) error {
				defer close(ended)
				return job.Run(ctx)
			}}, err
		}, func() {
			for i := range 2 {
				until(t, "it follows", func() bool { return n.followed() == uint64(i) })
				before := n.heard()
				until(t, "it has heard the ingester", func() bool { return n.heard() >= before+2 })
				if isClosed(ended) {
					t.Fatalf("it ended in front of notice %d, and its ingester works", i+1)
				}
				from := hour0.Add(time.Duration(i) * time.Hour)
				r.store(observations(1, from, 20))
				n.add(from, 20)
			}
			until(t, "all is followed", func() bool { return n.followed() == 2 })
			close(done)
			select {
			case <-ended:
			case <-time.After(soon):
				t.Error("it does not end")
			}
		})
		if _, revisions := r.reports(); len(revisions) != 2 {
			t.Errorf("got %v", revisions)
		}
	}
}

// TestTwoIngesters: both are followed, each by its own numbers, and a person is told.
func TestTwoIngesters(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	first, second := newNotices(t, b, "i"), newNotices(t, b, "j")
	r.run(func(*collect.Job) {
		for i := range 6 {
			from := hour0.Add(time.Duration(i) * time.Hour)
			r.store(observations(1, from, 20))
			[]*notices{first, second}[i%2].add(from, 20)
		}
		until(t, "all are done with", func() bool { return first.followed() == 3 && second.followed() == 3 })
		pause(t.Context(), untilTwo+500*time.Millisecond) // the last words of one that has gone take so long at most
	})
	if _, revisions := r.reports(); len(revisions) != 6 {
		t.Errorf("got %v", revisions)
	}
	if got := r.events("ingester.second"); len(got) == 0 || len(got) > 2 || !strings.Contains(got[0], "two ingesters are at work") {
		t.Errorf("got %q", got)
	}
}

// TestGoneNotices: what can't be given any more is told, and what is behind it is done.
func TestGoneNotices(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	for i := range 5 {
		from := hour0.Add(time.Duration(i) * time.Hour)
		r.store(observations(1, from, 20))
		n.mu.Lock()
		n.mute = i > 0
		n.mu.Unlock()
		n.add(from, 20)
	}
	n.mu.Lock()
	n.mute = true
	n.mu.Unlock()
	r.live(func(l *life) {
		p := l.report()
		l.commit(p)
		if of(p) != "19T00 r1 true 0" {
			t.Errorf("got %s", of(p))
		}
	})
	n.mu.Lock()
	n.oldest, n.mute = 4, false
	n.mu.Unlock()
	r.run(func(*collect.Job) {
		until(t, "all are done with", func() bool { _, revisions := r.reports(); return n.followed() == 5 && len(revisions) == 3 })
	})
	if got := r.events("notices.gone"); len(got) != 1 || !strings.Contains(got[0], "notices 2 to 3 ") {
		t.Errorf("got %q", got)
	}
}

// old says what an ingester of old says.
func old(t *testing.T, b connector.Broker, key, payload string) {
	t.Helper()
	err := b.Publish(t.Context(), connector.Message{Topic: names.Processor(), Key: key, Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIngesterOfOld: its hours are those of the newest day that has them, or of the configured day, 23 like the
// others; what is no hour is counted.
func TestIngesterOfOld(t *testing.T) {
	for _, day := range []time.Time{{}, hour0.Add(-24 * time.Hour)} {
		b := embedded(t)
		r := newRig(t, b)
		r.change = func(cfg *Config) { cfg.Day = day }
		var all []observation
		for i := -24; i < 25; i++ { // up to the first hour of the day behind
			all = append(all, observations(1, hour0.Add(time.Duration(i)*time.Hour), 5)...)
		}
		r.store(all)
		began := time.Now()
		var got []string
		r.live(func(l *life) {
			p, err := l.fetch() // it hears
			if err != nil {
				t.Fatal(err)
			}
			l.commit(p)
			old(t, b, "7", "7")
			old(t, b, "07", "07") // the same
			old(t, b, "23", "23")
			old(t, b, "0", "0")
			for _, bad := range [][2]string{{"24", "24"}, {"x", "x"}, {"5", "6"}, {"4", ""}, {"-1", "-1"}} {
				old(t, b, bad[0], bad[1])
			}
			for range 3 {
				p := l.report()
				l.commit(p)
				got = append(got, of(p))
				if n := p.Notes["spoilt_messages"]; len(got) == 1 && n != 5 {
					t.Errorf("%d messages are spoilt, want 5", n)
				}
			}
		})
		if took := time.Since(began); took < untilOld {
			t.Errorf("it did not wait for an ingester of ours: %v", took)
		}
		want := "[19T07 r1 true 0 19T23 r1 true 0 20T00 r1 true 0]"
		if !day.IsZero() {
			want = "[18T07 r1 true 0 18T23 r1 true 0 18T00 r1 true 0]"
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// TestOldAndOurs: an ingester of ours says both, and its own word counts.
func TestOldAndOurs(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	r.store(observations(1, hour0, 5))
	r.store(observations(1, hour0.Add(24*time.Hour), 5))
	r.live(func(l *life) {
		p, err := l.fetch()
		if err != nil {
			t.Fatal(err)
		}
		l.commit(p)
		old(t, b, "0", "0")
		n := newNotices(t, b, "i")
		n.add(hour0, 5)
		if p := l.report(); of(p) != "19T00 r1 true 0" {
			t.Errorf("got %s, want the day that it said", of(p))
		}
		old(t, b, "0", "0")
		ctx, cancel := context.WithTimeout(l.ctx, untilOld+500*time.Millisecond)
		defer cancel()
		if p, err := l.Fetch(ctx, connector.Request{Cursor: l.cursor}); err == nil {
			t.Errorf("got %s too", of(p))
		}
	})
}

// TestOldNoRows: an hour of an empty table is told, and so is one while the database is away.
func TestOldNoRows(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	r.live(func(l *life) {
		p, err := l.fetch()
		if err != nil {
			t.Fatal(err)
		}
		l.commit(p)
		r.tables.fail(fault.New(fault.Transient, "away"))
		old(t, b, "7", "7")
		fetched := make(chan connector.Page, 1)
		go func() { // read below
			p, err := l.Fetch(l.ctx, connector.Request{Cursor: l.cursor})
			if err != nil {
				t.Error(err)
			}
			fetched <- p
		}()
		until(t, "the gate is closed", func() bool { return !l.database.Status().Open })
		r.tables.fail(nil)
		if p := <-fetched; of(p) != "nothing" {
			t.Errorf("got %s", of(p))
		}
	})
	if got := r.events("report.empty"); len(got) != 1 || !strings.Contains(got[0], "hour 7 is said to be stored") {
		t.Errorf("got %q", got)
	}
}

// TestBug: a panic while computing ends the job and not the process.
func TestBug(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 5))
	n.add(hour0, 5)
	r.change = func(cfg *Config) {
		cfg.Window = func(context.Context, wire.Stored, func(arrow.RecordBatch) error) (bool, error) { panic("a bug") }
	}
	r.live(func(l *life) {
		err := fault.Catch(func() error {
			for {
				if _, err := l.fetch(); err != nil {
					return err
				}
			}
		})
		if bug, ok := errors.AsType[*fault.Panic](err); !ok || !strings.Contains(bug.Error(), "a bug") {
			t.Errorf("got %v", err)
		}
	})
}

// TestFirstHour: the first hour of all times is one like the others.
func TestFirstHour(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	n.add(time.Time{}, 1)
	n.add(time.Time{}, 50)
	r.live(func(l *life) {
		p := l.report()
		l.commit(p)
		r.store(observations(1, time.Time{}, 50))
		r.store(observations(2, time.Time{}.Add(-time.Hour), 50)) // is not within
		if got := []string{of(p), of(l.report())}; got[0] != "nothing" || got[1] != "01T00 r1 true 0" {
			t.Errorf("got %q", got)
		}
	})
	if got := r.events("report.empty"); len(got) != 1 || !strings.Contains(got[0], "the window from 0001-01-01T00:00:00Z") {
		t.Errorf("got events %q", got)
	}
}

// TestFewerRows: a report of fewer rows than are said to be stored is not complete, and says how many it lacks. The next notice
// of that time makes it right.
func TestFewerRows(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	all := observations(1, hour0, 50)
	r.store(all[:40])
	n.add(hour0, 52, func(s *wire.Stored) { s.Keys, s.Lost = 50, 3 })
	r.live(func(l *life) {
		p := l.report()
		l.commit(p)
		r.store(all[40:])
		n.add(hour0, 0, func(s *wire.Stored) { s.Keys, s.Again = 50, 1 })
		if got := []string{of(p), of(l.report())}; got[0] != "19T00 r1 false 13" || got[1] != "19T00 r2 true 0" {
			t.Errorf("got %q", got)
		}
	})
	if got := r.events("report.short"); len(got) != 1 || !strings.Contains(got[0], "50 rows should be stored, and table "+
		"weather_data has 40: the report lacks 13 rows") {
		t.Errorf("got events %q", got)
	}
}

// TestMoreRowsFollow: a report is not complete while rows of its time are to follow, though none is lost.
func TestMoreRowsFollow(t *testing.T) {
	b := embedded(t)
	r := newRig(t, b)
	n := newNotices(t, b, "i")
	r.store(observations(1, hour0, 50))
	n.add(hour0, 50, func(s *wire.Stored) { s.More, s.Keys = true, 50 })
	n.add(hour0, 50, func(s *wire.Stored) { s.Again, s.Shared = 1, true })
	r.live(func(l *life) {
		p := l.report()
		l.commit(p)
		if got := []string{of(p), of(l.report())}; got[0] != "19T00 r1 false 0" || got[1] != "19T00 r2 true 0" {
			t.Errorf("got %q", got)
		}
	})
}

// interrupted is a database that fails at the moment at which Fetch is ended.
type interrupted struct {
	connector.Tables
	end func()
}

func (i interrupted) Rows(context.Context, connector.TableQuery, func([]any) error) error {
	i.end()
	return errors.New("taken back")
}

// fading is a context whose end shows by Err alone.
type fading struct {
	context.Context
	over atomic.Bool
}

func (f *fading) Err() error {
	if f.over.Load() {
		return context.Canceled
	}
	return f.Context.Err()
}

// TestInterruptedOld: a Fetch that is ended while it computes puts the hour of an ingester of old back, which nobody sends again.
func TestInterruptedOld(t *testing.T) {
	r := newRig(t, embedded(t))
	ctx := &fading{Context: t.Context()}
	r.change = func(cfg *Config) {
		cfg.Tables, cfg.Day = interrupted{cfg.Tables, func() { ctx.over.Store(true) }}, hour0
	}
	r.live(func(l *life) {
		if _, err := l.fetch(); err != nil { // it listens
			t.Fatal(err)
		}
		l.old.add(&oldHour{hour: 7, since: time.Now().Add(-untilOld)})
		if _, err := l.Fetch(ctx, connector.Request{Cursor: l.cursor}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it is ended", err)
		}
		if l.old[7] == nil {
			t.Error("the hour is lost")
		}
	})
}
