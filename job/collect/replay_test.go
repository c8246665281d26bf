package collect_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// replayed is a job over a stream of rows, with sinks that come and go.
type replayed struct {
	*rig
	sinks []string
	wrap  func(connector.Sink) connector.Sink
}

func (r *replayed) db(sink string) string { return filepath.Join(r.dir, sink+".sqlite") }

// collect takes pages in and delivers them to the sinks that there are.
func (r *replayed) collect(pages ...connector.Page) engine.Books {
	r.t.Helper()
	r.runSpec(engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			var sinks []collect.Sink
			for _, name := range r.sinks {
				lite, err := sqlite.New(sqlite.Config{Path: r.db(name), Table: "rows"})
				if err != nil {
					return nil, err
				}
				var sink connector.Sink = lite
				if r.wrap != nil {
					sink = r.wrap(sink)
				}
				sinks = append(sinks, collect.Sink{Name: name, Sink: sink})
			}
			return collect.New(ctx, env, &script{pages: append(pages, readings())}, sinks,
				collect.Config{Source: "stream", Retain: spool.Retain{Age: 24 * time.Hour},
					NextPoll: func(last time.Time) time.Time { return last }})
		}})
	return r.books()
}

// order gives a replay while no engine runs.
func (r *replayed) order(o collect.Replay) (out collect.Replayed) {
	r.t.Helper()
	r.intake(func(_ *store.Store, in *collect.Intake) {
		var err error
		if out, err = in.ReplayTo(r.t.Context(), o, func(uint64, uint64) {}); err != nil {
			r.t.Fatal(err)
		}
	})
	return out
}

func (r *replayed) intake(f func(*store.Store, *collect.Intake)) {
	r.t.Helper()
	st, err := store.Open(engine.JobDir(r.dir, "spots"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	in, err := collect.OpenIntake(st, "spots", "stream", textSchema, connector.SourceTraits{}, collect.IntakeOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	f(st, in)
}

// exec runs SQL on a sink's database.
func (r *replayed) exec(sink, query string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.db(sink))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replayed) stations(sink string) (out []string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.db(sink))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT station FROM rows ORDER BY station")
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// hours makes a page of rows named after their hour, from first to last.
func hours(first, last int) connector.Page {
	var rows []reading
	for h := first; h <= last; h++ {
		rows = append(rows, reading{fmt.Sprintf("h%02d", h), hour(h)})
	}
	return readings(rows...)
}

var day = time.Now().Add(-24 * time.Hour).Truncate(time.Hour)

func hour(h int) time.Time { return day.Add(time.Duration(h) * time.Hour) }

func names(first, last int) (out []string) {
	for h := first; h <= last; h++ {
		out = append(out, fmt.Sprintf("h%02d", h))
	}
	return out
}

// TestReplayBringsBack: a sink lost rows; those of a range of time come again, once, and no law breaks.
func TestReplayBringsBack(t *testing.T) {
	r := &replayed{rig: &rig{t: t, dir: t.TempDir()}, sinks: []string{"main"}}
	before := r.collect(hours(0, 3), hours(4, 7), hours(8, 11)).Sinks[0]
	r.exec("main", "DELETE FROM rows WHERE station IN ('h01', 'h05', 'h06', 'h10')")
	out := r.order(collect.Replay{Sink: "main", From: hour(5), To: hour(8)})
	if out.Blocks != 1 || out.Rows != 4 {
		t.Errorf("got %+v, want the block of hours 4 to 7", out)
	}
	if s := r.books().Sinks[0]; s.Pending != 4 || s.Delivered != before.Delivered-4 || s.Accepted != before.Accepted {
		t.Errorf("ordered: got %+v", s)
	}
	if again := r.order(collect.Replay{Sink: "main", From: hour(5), To: hour(8)}); again.Rows != 0 {
		t.Errorf("pending rows were replayed: %+v", again)
	}
	after := r.collect().Sinks[0]
	if after.Flow != before.Flow {
		t.Errorf("in the end: got %+v, want %+v", after.Flow, before.Flow)
	}
	want := slices.Concat(names(0, 0), names(2, 9), names(11, 11))
	if got := r.stations("main"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestReplayToALaterSink fills a sink that was added later, and does not count its rows twice.
func TestReplayToALaterSink(t *testing.T) {
	r := &replayed{rig: &rig{t: t, dir: t.TempDir()}, sinks: []string{"main"}}
	r.collect(hours(0, 3), hours(4, 7))
	r.sinks = []string{"main", "late"}
	r.collect(hours(8, 11))
	for range 2 {
		if out := r.order(collect.Replay{Sink: "late"}); out.Rows != 12 {
			t.Errorf("got %+v, want all rows", out)
		}
		b := r.collect()
		i := slices.IndexFunc(b.Sinks, func(s engine.SinkBooks) bool { return s.Sink == "late" })
		if s := b.Sinks[i]; s.Accepted != 12 || s.Delivered != 12 || s.Pending != 0 {
			t.Errorf("got %+v, want 12 rows accepted and delivered", s.Flow)
		}
		if got := r.stations("late"); !slices.Equal(got, names(0, 11)) {
			t.Errorf("got %v", got)
		}
	}
}

// TestReplayLeavesTheDead: rows that died in a sink, were discarded or retried are counted where they are.
func TestReplayLeavesTheDead(t *testing.T) {
	r := &replayed{rig: &rig{t: t, dir: t.TempDir()}, sinks: []string{"main"}}
	r.wrap = func(s connector.Sink) connector.Sink { return picky{s, []string{"h01", "h02", "h03"}} }
	r.collect(hours(0, 5))
	var dead []balance.DeadLetter
	r.intake(func(st *store.Store, in *collect.Intake) {
		if err := st.View(t.Context(), func(rd store.Reader) (err error) {
			dead, err = balance.ListDead(rd, 0, 10)
			return err
		}); err != nil || len(dead) != 3 {
			t.Fatalf("got %d dead letters (%v), want 3", len(dead), err)
		}
		if err := in.DiscardDead(dead[0].ID, "no use"); err != nil {
			t.Fatal(err)
		}
		if err := in.RetryDead(t.Context(), dead[1].ID); err != nil {
			t.Fatal(err)
		}
	})
	r.wrap = nil
	want := balance.Flow{Accepted: 6, Delivered: 4, Dead: 1, Discarded: 1}
	if got := r.collect().Sinks[0].Flow; got != want {
		t.Fatalf("before: got %+v, want %+v", got, want)
	}
	r.exec("main", "DELETE FROM rows")
	if out := r.order(collect.Replay{Sink: "main"}); out.Rows != 4 || out.Left != 3 {
		t.Errorf("got %+v, want 4 rows, and 3 left in their block", out)
	}
	if got := r.collect().Sinks[0].Flow; got != want {
		t.Errorf("after: got %+v, want %+v", got, want)
	}
	if got := r.stations("main"); !slices.Equal(got, []string{"h00", "h02", "h04", "h05"}) {
		t.Errorf("got %v", got)
	}
	if out := r.order(collect.Replay{Sink: "main"}); out.Rows != 4 {
		t.Errorf("once more: got %+v, want the same rows", out)
	}
	if got := r.collect().Sinks[0].Flow; got != want {
		t.Errorf("once more: got %+v, want %+v", got, want)
	}
}

// picky refuses rows by their key.
type picky struct {
	connector.Sink
	keys []string
}

func (p picky) Write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	for i := range int(d.Rows.NumRows()) {
		if slices.Contains(p.keys, d.Rows.Column(0).ValueStr(i)) {
			v.Rejected = append(v.Rejected, connector.RowFault{Row: i, Reason: "not that one"})
		}
	}
	if len(v.Rejected) > 0 {
		keep := slices.Repeat([]bool{true}, int(d.Rows.NumRows()))
		for _, f := range v.Rejected {
			keep[f.Row] = false
		}
		if d.Rows, err = record.Keep(d.Rows, keep); err != nil {
			return v, err
		}
	}
	w, err := p.Sink.Write(ctx, d)
	v.Present = w.Present
	return v, err
}
