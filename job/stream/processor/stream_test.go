package processor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/job/stream/ingester"
	"holdfast/job/stream/streamer"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
)

// dataSet is a source of rows that has an end.
type dataSet struct{ pages []arrow.RecordBatch }

func (d dataSet) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }
func (d dataSet) Schema() record.Schema          { return weather }
func (d dataSet) Start(uint64) []byte            { return []byte{0} }
func (d dataSet) Close() error                   { return nil }

func (d dataSet) Fetch(_ context.Context, r connector.Request) (connector.Page, error) {
	next := r.Cursor[0]
	if int(next) == len(d.pages) {
		return connector.Page{Cursor: r.Cursor, End: true}, nil
	}
	return connector.Page{Rows: d.pages[next], Cursor: []byte{next + 1}, More: true}, nil
}

// meets has an ingester look at its table before the first row is written.
type meets struct {
	connector.Sink
	meet func(context.Context) error
}

func (m meets) Prepare(ctx context.Context, s record.Schema) error {
	return errors.Join(m.Sink.Prepare(ctx, s), m.meet(ctx))
}

// ingest makes the job of an ingester that writes rows into the rig's file.
func (r *rig) ingest(ctx context.Context, env engine.Env, made *atomic.Pointer[ingester.Source]) (engine.Job, error) {
	spec := columns.Spec{Time: "time", Extra: columns.ExtraDrop, Zone: time.UTC, Columns: []columns.Column{
		{Name: "time", Type: columns.Time, Format: streamer.DefaultTimeLayout}, {Name: "zip_code", Type: columns.Text},
		{Name: "state", Type: columns.Text}, {Name: "temp_c", Type: columns.Float64, Optional: true},
		{Name: "pressure_mb", Type: columns.Float64, Optional: true}, {Name: "humidity", Type: columns.Int64, Optional: true},
		{Name: "precip_mm", Type: columns.Float64, Optional: true}}}
	table, err := columns.New(spec)
	if err != nil {
		return nil, err
	}
	src, err := ingester.New(ctx, env, ingester.Config{Names: names, Broker: r.broker, Name: "broker", Group: "ingester",
		Key: []string{"zip_code", "state"},
		Table: ingester.Table{Sink: "main", Empty: func(ctx context.Context) (bool, error) {
			_, some, err := r.tables.Newest(ctx, connector.TableQuery{Table: "weather_data", Time: "time"})
			return !some, err
		}},
		Schema: table.Schema(), Parse: func(ctx context.Context, payloads [][]byte) (p connector.Page, err error) {
			rows := table.Begin(ctx)
			for _, payload := range payloads {
				if err := rows.AddArray(payload); err != nil {
					return p, err
				}
			}
			p.Rejected = rows.Rejected
			p.Rows, err = rows.Batch()
			return p, err
		}})
	if err != nil {
		return nil, err
	}
	sink, err := sqlite.New(sqlite.Config{Path: r.file, Table: "weather_data"})
	if err != nil {
		return nil, err
	}
	made.Store(src)
	return collect.New(ctx, env, src, []collect.Sink{{Name: "main", Sink: meets{sink, src.Meet}}}, collect.Config{Source: "broker",
		Retain: spool.Retain{Age: time.Hour}, // else what is delivered goes after ten seconds
		Intake: collect.IntakeOptions{OnTake: src.OnTake}, OnLack: src.OnLack, OnSettle: src.OnSettle,
		OnStart:  func(_ context.Context, j *collect.Job) error { return j.Look(src.OnSettle) },
		NextPoll: func(last time.Time) time.Time { return last }})
}

// TestWholeStream runs all roles over a network that loses, doubles, reorders and spoils, in one process that
// ends in the middle: the reports are those of the data set, and were computed of the spool of the ingester.
func TestWholeStream(t *testing.T) {
	r := newRig(t, &hostile{Broker: embedded(t), rng: rand.New(rand.NewPCG(4, 4))})
	var all []observation
	for i := range 8 {
		all = append(all, observations(9, hour0.Add(time.Duration(i)*time.Hour), 120)...)
	}
	slices.SortStableFunc(all, func(a, b observation) int { return a.at.Compare(b.at) })
	var set dataSet
	for part := range slices.Chunk(all, 300) {
		set.pages = append(set.pages, batchOf(part))
	}
	var spool atomic.Pointer[ingester.Source]
	r.change = func(cfg *Config) {
		cfg.Window = func(ctx context.Context, n wire.Stored, yield func(arrow.RecordBatch) error) (bool, error) {
			for ; ; time.Sleep(5 * time.Millisecond) { // the ingester may start after the processor
				if err := ctx.Err(); err != nil {
					return false, err
				}
				if in := spool.Load(); in != nil {
					return in.Rows(ctx, n, yield)
				}
			}
		}
	}
	specs := []engine.Spec{
		{Name: "streamer", Kind: "stream", New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			return streamer.New(ctx, env, set, streamer.Config{Names: names, Broker: r.broker, Group: "streamer", DataSet: "test",
				Batch: 50})
		}},
		{Name: "ingester", Kind: "stream", New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			return r.ingest(ctx, env, &spool)
		}},
		{Name: "reports", Kind: "stream", New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			_, job, err := r.build(ctx, env)
			return job, err
		}}}
	var stopping int64 // windows that the database was asked for while an engine stopped: its ingester may be closed first
	for _, hours := range []int{3, 8} {
		spool.Store(nil)
		e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
			Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, specs)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		until(t, "the reports are there", func() bool { _, revisions := r.reports(); return len(revisions) >= hours })
		if n := r.tables.rows.Load() - stopping; n > 0 {
			t.Errorf("the database was asked for %d windows, want those of the spool", n)
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		stopping = r.tables.rows.Load()
	}
	r.compare(all)
	if _, revisions := r.reports(); len(revisions) != 8 {
		t.Errorf("got %v", revisions)
	}
}
