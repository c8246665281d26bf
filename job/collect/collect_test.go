package collect_test

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a simulator and everything that a job needs, in one temporary directory.
type rig struct {
	t    *testing.T
	dir  string
	sim  *simulator.Simulator
	url  string
	wrap func(connector.Sink) connector.Sink // puts something before the SQLite sink
	// wrapSource puts something before the source.
	wrapSource func(connector.Source) connector.Source
	cfg        collect.Config
	name       string // of the sink; default main
	database   string // of the sink; default in dir
	limit      int64  // of the sink's backlog
	soft       int64  // its soft mark
	policy     collect.Policy
	more       []collect.Sink // beside it
}

func newRig(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	sim := simulator.New(o)
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	return &rig{t: t, dir: t.TempDir(), sim: sim, url: srv.URL,
		cfg: collect.Config{Source: "feed", Once: true, Noun: "spots"}}
}

func (r *rig) db() string { return cmp.Or(r.database, filepath.Join(r.dir, "spots.sqlite")) }

func (r *rig) spec() engine.Spec {
	return engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			feed, err := wsprnet.Open(wsprnet.Config{URL: r.url + "/drupal/wsprnet/spots/json",
				MaxBytesPerSecond: -1, Every: time.Second}, wsprnet.Options{})
			if err != nil {
				return nil, err
			}
			var src connector.Source = feed
			if r.wrapSource != nil {
				src = r.wrapSource(src)
			}
			lite, err := sqlite.New(sqlite.Config{Path: r.db()})
			if err != nil {
				return nil, err
			}
			var sink connector.Sink = lite
			if r.wrap != nil {
				sink = r.wrap(sink)
			}
			cfg := r.cfg
			cfg.Intake.Parse = parse
			return collect.New(ctx, env, src, append([]collect.Sink{{Name: cmp.Or(r.name, "main"), Sink: sink,
				Limit: r.limit, Soft: r.soft, Policy: r.policy}}, r.more...), cfg)
		}}
}

// run runs the job until it ends by itself.
func (r *rig) run() *engine.Engine {
	r.t.Helper()
	return r.runSpec(r.spec())
}

func (r *rig) runSpec(spec engine.Spec) *engine.Engine {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{spec})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := e.Run(ctx); err != nil {
		r.t.Fatal(err)
	}
	if ctx.Err() != nil {
		r.t.Fatal("the job did not end within a minute")
	}
	return e
}

// open opens the job's store while no engine runs.
func (r *rig) open() *store.Store {
	r.t.Helper()
	st, err := store.Open(engine.JobDir(r.dir, "spots"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

func (r *rig) books() (b engine.Books) {
	r.t.Helper()
	st := r.open()
	defer st.Close()
	err := st.View(r.t.Context(), func(rd store.Reader) (err error) {
		b, err = engine.ReadBooks(rd, "spots")
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if !b.Balanced() {
		r.t.Errorf("the books do not balance: %v", b.Broken)
	}
	return b
}

func (r *rig) ids() (ids []uint64) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.db())
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("select id from spots order by id")
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (r *rig) expected() (ids []uint64) {
	faulty := map[uint64]bool{}
	for id := range r.sim.Faulty(r.sim.Oldest(), r.sim.Newest()) {
		faulty[id] = true
	}
	for s := range r.sim.Expected(r.sim.Oldest(), r.sim.Newest()) {
		if !faulty[s.ID] {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestOneCycleDeliversEverySpotOnce(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 7, Rate: -1, Backlog: 5000, Holes: 0.01, Garbage: 0.002,
		PageLimit: 700})
	r.run()
	want, got := r.expected(), r.ids()
	if !slices.Equal(got, want) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	b := r.books()
	if b.Accepted != int64(len(want)) || b.Rejected == 0 || b.Sinks[0].Delivered != b.Accepted {
		t.Errorf("books: %+v", b)
	}
	if b.GapSums.Open == 0 || b.GapSums.Missing == 0 {
		t.Errorf("the holes of the feed are no gaps: %+v", b.GapSums)
	}
	// Once more, with nothing new: nothing changes.
	r.run()
	if again := r.books(); again.Accepted != b.Accepted || again.Sinks[0].Delivered != b.Sinks[0].Delivered {
		t.Errorf("a second cycle changed the books: %+v", again)
	}
}

// failing is a sink whose writes fail until told otherwise.
type failing struct {
	connector.Sink
	err error
}

func (f *failing) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if f.err != nil {
		return connector.Verdict{}, f.err
	}
	return f.Sink.Write(ctx, d)
}

func TestRowsAreKeptWhileTheSinkIsAway(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 8, Rate: -1, Backlog: 2000, PageLimit: 500})
	away := fault.New(fault.Transient, "connection refused")
	r.wrap = func(s connector.Sink) connector.Sink { return &failing{s, away} }
	r.run()
	if b := r.books(); b.Sinks[0].Pending != 2000 || b.Sinks[0].Delivered != 0 {
		t.Fatalf("books during the outage: %+v", b)
	}
	r.wrap = nil
	r.run()
	if got := r.ids(); len(got) != 2000 {
		t.Errorf("got %d rows, want 2000", len(got))
	}
	if b := r.books(); b.Sinks[0].Pending != 0 || b.Sinks[0].Delivered != 2000 || b.Read != 2000 {
		t.Errorf("books after the outage: %+v", b)
	}
}

// poison refuses every delivery that holds one of its ids, as a database does that names no row.
type poison struct{ connector.Sink }

func (p poison) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	for i := range int(d.Rows.NumRows()) {
		if d.Rows.Column(0).ValueStr(i) == "6040000100" {
			return connector.Verdict{}, fault.New(fault.Invalid, "value out of range")
		}
	}
	return p.Sink.Write(ctx, d)
}

func TestPoisonRowDiesAloneAndMayBeRetried(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 1000, PageLimit: 300})
	r.wrap = func(s connector.Sink) connector.Sink { return poison{s} }
	r.run()
	b := r.books()
	if b.Sinks[0].Dead != 1 || b.Sinks[0].Delivered != 999 || b.Sinks[0].Pending != 0 {
		t.Fatalf("books with one poison row: %+v", b.Sinks[0])
	}
	st := r.open()
	var dead []balance.DeadLetter
	st.View(t.Context(), func(rd store.Reader) (err error) { dead, err = balance.ListDead(rd, 0, 10); return err })
	if len(dead) != 1 || dead[0].Key != "6040000100" || !strings.Contains(dead[0].Reason, "out of range") {
		t.Fatalf("dead letters: %+v", dead)
	}
	in, err := collect.OpenIntake(st, "spots", "feed", spot.Schema(), connector.SourceTraits{},
		collect.IntakeOptions{BlockRows: 100, Parse: parse})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.RetryDead(t.Context(), dead[0].ID); err != nil {
		t.Fatal(err)
	}
	st.Close()
	if b := r.books(); b.Sinks[0].Dead != 0 || b.Sinks[0].Pending != 1 || b.Sinks[0].Accepted != 1000 {
		t.Errorf("books after the retry: %+v", b.Sinks[0])
	}
	r.wrap = nil
	r.run()
	if b := r.books(); b.Sinks[0].Delivered != 1000 || len(r.ids()) != 1000 {
		t.Errorf("books at the end: %+v, %d rows", b.Sinks[0], len(r.ids()))
	}
}
