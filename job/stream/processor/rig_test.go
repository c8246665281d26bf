package processor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/nats"
	"holdfast/connector/split"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/job/stream/report"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon bounds every wait.
const soon = time.Minute

var names = wire.Names{Prefix: wire.DefaultPrefix}

// weather is the schema of rows of a window.
var weather = record.NewSchema([]arrow.Field{
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us},
	{Name: "zip_code", Type: arrow.BinaryTypes.String},
	{Name: "state", Type: arrow.BinaryTypes.String},
	{Name: "temp_c", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "pressure_mb", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "humidity", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "precip_mm", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
}, "", "time")

var fields = []string{"temp_c", "pressure_mb", "humidity", "precip_mm"}

// observation is one row, for a computation that knows nothing of ours.
type observation struct {
	at         time.Time
	zip, state string
	values     [4]float64
}

// observations makes n rows of the hour from a time. All values are quarters, whose sums are exact.
func observations(seed uint64, from time.Time, n int) (all []observation) {
	rng := rand.New(rand.NewPCG(seed, uint64(from.Unix())))
	for i := range n {
		all = append(all, observation{from.Add(time.Duration(i%60) * time.Minute), fmt.Sprintf("%05d", rng.IntN(100_000)),
			fmt.Sprintf("State %c", 'A'+rng.IntN(6)), [4]float64{float64(rng.IntN(200)-80) / 4, 1000 + float64(rng.IntN(100))/4,
				float64(rng.IntN(100)), float64(rng.IntN(3)) / 4}})
	}
	return all
}

func batchOf(all []observation) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, weather.Schema)
	for _, o := range all {
		b.Field(0).(*array.TimestampBuilder).AppendTime(o.at)
		b.Field(1).(*array.StringBuilder).Append(o.zip)
		b.Field(2).(*array.StringBuilder).Append(o.state)
		b.Field(3).(*array.Float64Builder).Append(o.values[0])
		b.Field(4).(*array.Float64Builder).Append(o.values[1])
		b.Field(5).(*array.Int64Builder).Append(int64(o.values[2]))
		b.Field(6).(*array.Float64Builder).Append(o.values[3])
	}
	return b.NewRecordBatch()
}

// brittle is a database that can go away.
type brittle struct {
	connector.Tables
	away  atomic.Pointer[error] // what it says to everything
	hangs atomic.Bool           // it says nothing until the question is taken back
	asked atomic.Int64
	rows  atomic.Int64 // questions for rows of the windows
	made  atomic.Int64 // questions for reports
}

func (b *brittle) fail(err error) {
	if err == nil {
		b.away.Store(nil)
		return
	}
	b.away.Store(&err)
}

func (b *brittle) wait(ctx context.Context) error {
	b.asked.Add(1)
	if b.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := b.away.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *brittle) Rows(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
	if q.Table == "weather_data" {
		b.rows.Add(1)
	} else {
		b.made.Add(1)
	}
	if err := b.wait(ctx); err != nil {
		return err
	}
	return b.Tables.Rows(ctx, q, yield)
}

func (b *brittle) Newest(ctx context.Context, q connector.TableQuery) (time.Time, bool, error) {
	if err := b.wait(ctx); err != nil {
		return time.Time{}, false, err
	}
	return b.Tables.Newest(ctx, q)
}

// rig is a processor with a broker and an SQLite file.
type rig struct {
	t      *testing.T
	dir    string // data directory
	file   string
	broker connector.Broker
	tables *brittle
	change func(*Config)
	stored uint64 // deliveries of rows
}

func embedded(t *testing.T) connector.Broker {
	t.Helper()
	e, err := nats.StartEmbedded(nats.EmbeddedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	b, err := e.Broker(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func newRig(t *testing.T, b connector.Broker) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), file: filepath.Join(t.TempDir(), "weather.sqlite"), broker: b, change: func(*Config) {}}
	tables, err := sqlite.OpenTables(sqlite.Config{Path: r.file})
	if err != nil {
		t.Fatal(err)
	}
	r.tables = &brittle{Tables: tables}
	return r
}

// store puts rows into the database.
func (r *rig) store(all []observation) {
	r.t.Helper()
	s, err := sqlite.New(sqlite.Config{Path: r.file, Table: "weather_data"})
	if err == nil {
		err = s.Prepare(r.t.Context(), weather)
	}
	if err == nil {
		r.stored++
		_, err = s.Write(r.t.Context(), connector.Delivery{Schema: weather, Rows: batchOf(all),
			Token: record.Token{Job: "rows", First: r.stored, Last: r.stored}})
	}
	if err = errors.Join(err, s.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// build makes the source and its job.
func (r *rig) build(ctx context.Context, env engine.Env) (*Source, *collect.Job, error) {
	set, err := report.New(report.Weather(), weather)
	if err != nil {
		return nil, nil, err
	}
	cfg := Config{Names: names, Broker: r.broker, Group: "processor", Table: "weather_data", Time: "time", Reports: set,
		Tables: r.tables}
	r.change(&cfg)
	src, err := New(env, cfg)
	if err != nil {
		return nil, nil, err
	}
	var parts []split.Part
	for _, t := range set.Tables() {
		k, err := sqlite.New(sqlite.Config{Path: r.file, Table: t.Name, Key: append([]string{report.Time}, t.Tags...),
			Replace: report.Revision})
		if err != nil {
			return nil, nil, err
		}
		p := split.Part{Value: t.Name, Sink: k}
		for _, c := range t.Columns {
			p.Columns = append(p.Columns, split.Column(c))
		}
		parts = append(parts, p)
	}
	sink, err := split.New(report.TableColumn, parts)
	if err != nil {
		return nil, nil, err
	}
	job, err := collect.New(ctx, env, src, []collect.Sink{{Name: "reports", Sink: sink}}, collect.Config{Source: "broker",
		Noun: "report rows", Intake: collect.IntakeOptions{OnTake: src.OnTake}, Beside: src.Gates(), Once: cfg.Once,
		NextPoll: func(last time.Time) time.Time { return last }, Again: collect.Retry{Initial: time.Second,
			Max: time.Second, Jitter: -1}})
	return src, job, err
}

// engine runs a job made by build until its end, or until f has returned.
func (r *rig) engine(build func(ctx context.Context, env engine.Env) (engine.Job, error), f func()) {
	r.t.Helper()
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "reports", Kind: "stream", New: build}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			r.t.Error(err)
		}
	}()
	f()
}

// run runs the job while f does what it does.
func (r *rig) run(f func(job *collect.Job)) {
	r.t.Helper()
	made := make(chan *collect.Job, 10)
	r.engine(func(ctx context.Context, env engine.Env) (engine.Job, error) {
		_, job, err := r.build(ctx, env)
		if err == nil {
			made <- job
		}
		return job, err
	}, func() {
		select {
		case job := <-made:
			f(job)
		case <-time.After(soon):
			r.t.Fatal("the job does not begin")
		}
	})
}

// life is a source in the hands of a test: nothing runs but its gates.
type life struct {
	*Source
	t      *testing.T
	ctx    context.Context
	job    *collect.Job
	cursor []byte
}

// live gives f a source in a store that outlives it.
func (r *rig) live(f func(l *life)) {
	r.t.Helper()
	ended := make(chan struct{})
	var once sync.Once
	r.engine(func(ctx context.Context, env engine.Env) (engine.Job, error) {
		src, job, err := r.build(ctx, env)
		return hand{job, func(ctx context.Context) error {
			defer once.Do(func() { close(ended) })
			gates, stop := context.WithCancel(ctx)
			running := sync.WaitGroup{}
			running.Go(func() { _ = src.database.Run(gates) })
			defer running.Wait()
			defer stop()
			l := &life{Source: src, t: r.t, ctx: ctx, job: job}
			if l.cursor, err = job.Intake().Cursor(ctx); err == nil && l.cursor == nil {
				l.cursor = src.Start(0)
			}
			f(l)
			return errors.Join(err, src.Close())
		}}, err
	}, func() {
		select {
		case <-ended:
		case <-time.After(2 * soon):
			r.t.Error("it does not end")
		}
	})
}

// hand is a job that a test does the work of.
type hand struct {
	*collect.Job
	run func(ctx context.Context) error
}

func (h hand) Run(ctx context.Context) error { return h.run(ctx) }

// fetch is the next page; with rows, unless it is the first of a hearing.
func (l *life) fetch() (connector.Page, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, soon)
	defer cancel()
	p, err := l.Fetch(ctx, connector.Request{Cursor: l.cursor})
	if err == nil {
		l.cursor = p.Cursor
	}
	return p, err
}

// report is the next page, which must be one.
func (l *life) report() connector.Page {
	l.t.Helper()
	for {
		first := l.ear == nil
		p, err := l.fetch()
		if err != nil {
			l.t.Fatal(err)
		}
		if !first {
			return p
		}
		l.commit(p)
	}
}

// commit takes a page in.
func (l *life) commit(p connector.Page) {
	l.t.Helper()
	if _, err := l.job.Intake().Take(l.ctx, p, collect.Follow); err != nil {
		l.t.Fatal(err)
	}
	if p.Taken != nil {
		p.Taken(l.ctx)
	}
}

// of says which window a page is of, and its revision, complete and lost.
func of(p connector.Page) string {
	if p.Rows == nil || p.Rows.NumRows() == 0 {
		return "nothing"
	}
	at := p.Rows.Column(1).(*array.Timestamp).Value(0).ToTime(arrow.Microsecond)
	return fmt.Sprintf("%s r%s %s %s", at.Format("02T15"), p.Rows.Column(3).ValueStr(0), p.Rows.Column(4).ValueStr(0),
		p.Rows.Column(5).ValueStr(0))
}

// events are the texts of the job's events of a kind, while no engine runs.
func (r *rig) events(kind string) (texts []string) {
	r.t.Helper()
	st, err := store.Open(engine.JobDir(r.dir, "reports"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	err = st.View(r.t.Context(), func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 10_000)
		for _, e := range all {
			if e.Kind == kind {
				texts = append(texts, e.Text)
			}
		}
		b, err2 := engine.ReadBooks(rd, "reports")
		if !b.Balanced() {
			r.t.Errorf("the books do not balance: %v", b.Broken)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return texts
}

// until waits for something that comes without a word.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

// gateOf is the state of a gate of the job.
func gateOf(job *collect.Job, name string) gate.Status {
	for _, g := range job.Gates() {
		if g.Name == name {
			return g
		}
	}
	return gate.Status{}
}

// notices is an ingester, as far as a processor knows it.
type notices struct {
	t     *testing.T
	b     connector.Broker
	epoch string

	mu     sync.Mutex // guards what is below
	all    []wire.Stored
	oldest uint64 // that can be given
	next   uint64 // as the processor says
	asked  int    // how often it said so
	end    bool
	mute   bool // nothing is told by itself
	lose   int  // so many times it is not heard that all is done with
}

func newNotices(t *testing.T, b connector.Broker, epoch string) *notices {
	n := &notices{t: t, b: b, epoch: epoch, oldest: 1, next: 1}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	ready := make(chan struct{})
	serving.Go(func() { n.listen(ctx, ready) })
	serving.Go(func() { n.speak(ctx) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	<-ready
	return n
}

func (n *notices) publish(m connector.Message) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = n.b.Publish(ctx, m) // what is lost is asked for
}

// add tells of a stored window.
func (n *notices) add(from time.Time, rows int, change ...func(*wire.Stored)) {
	n.mu.Lock()
	s := wire.Stored{Epoch: n.epoch, Number: uint64(len(n.all) + 1), Window: fmt.Sprint(from.Hour()), From: from,
		To: from.Add(time.Hour), Rows: rows, Sure: true, At: time.Now()}
	for _, f := range change {
		f(&s)
	}
	n.all = append(n.all, s)
	mute := n.mute
	n.mu.Unlock()
	if !mute {
		n.publish(s.Message(names))
		n.publish(connector.Message{Topic: names.Processor(), Key: s.Window, Payload: []byte(s.Window)})
	}
}

func (n *notices) told() wire.Told {
	n.mu.Lock()
	defer n.mu.Unlock()
	return wire.Told{Epoch: n.epoch, Oldest: n.oldest, Newest: uint64(len(n.all)), Next: n.next, End: n.end}
}

// followed is up to where the processor says that it has done.
func (n *notices) followed() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.next - 1
}

// ends says that there will be no more, or that there will.
func (n *notices) ends(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end = yes
}

// heard is how often the processor said something.
func (n *notices) heard() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *notices) follow(f wire.Follow) {
	n.mu.Lock()
	n.asked++
	if n.end && n.lose > 0 && f.Epoch == n.epoch && f.Next > uint64(len(n.all)) {
		n.lose--
		n.mu.Unlock()
		return
	}
	var out []wire.Stored
	if f.Epoch == n.epoch && f.Next >= n.oldest && f.Next <= uint64(len(n.all))+1 {
		n.next = max(n.next, f.Next)
		out = slices.Clone(n.all[f.Next-1:])
		out = out[:min(len(out), 100)]
	}
	n.mu.Unlock()
	for _, s := range out {
		n.publish(s.Message(names))
	}
	n.publish(n.told().Message(names))
}

func (n *notices) listen(ctx context.Context, ready chan struct{}) {
	var once sync.Once
	for ctx.Err() == nil {
		_ = n.b.Listen(ctx, connector.Listener{Topics: []string{names.Follow()}, Group: "ingester",
			Ready: func() { once.Do(func() { close(ready) }) },
			Hear: func(m connector.Heard) error {
				if what, err := wire.Read(m.Message); err == nil {
					n.follow(what.(wire.Follow))
				}
				return m.Ack(ctx)
			}})
		pause(ctx, 50*time.Millisecond)
	}
}

func (n *notices) speak(ctx context.Context) {
	for pause(ctx, 200*time.Millisecond) {
		n.mu.Lock()
		mute := n.mute
		n.mu.Unlock()
		if !mute {
			n.publish(n.told().Message(names))
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// cell is one value of a report.
type cell struct{ table, hour, group, member, field string }

// plain computes the reports of rows in the plainest way, as the values of cells.
func plain(all []observation) map[cell]float64 {
	out, counts := map[cell]float64{}, map[cell]float64{}
	best := map[cell]observation{}
	for _, o := range all {
		hour := o.at.Format("2006-01-02T15")
		for i, field := range fields {
			mean := cell{"weather_averages", hour, o.state, "", "avg_" + field}
			out[mean] += o.values[i]
			counts[mean]++
			for _, way := range []string{"min_", "max_"} {
				at := cell{"zip_code_extremes", hour, o.state, "", way + field}
				b, ok := best[at]
				sign := map[string]float64{"min_": 1, "max_": -1}[way]
				if d := sign * (o.values[i] - b.values[i]); !ok || d < 0 || d == 0 && o.zip < b.zip {
					best[at] = o
				}
			}
		}
	}
	for at, n := range counts {
		out[at] /= n
	}
	for at, o := range best {
		for i, field := range fields {
			if strings.HasSuffix(at.field, field) {
				out[cell{at.table, at.hour, at.group, o.zip, at.field}] = o.values[i]
			}
		}
	}
	return out
}

// reports reads what the tables hold, and by hour the lower of the two tables' revisions.
func (r *rig) reports() (values map[cell]float64, revisions map[string]int64) {
	r.t.Helper()
	values, revisions = map[cell]float64{}, map[string]int64{}
	of := map[[2]string]int64{}
	db, err := sql.Open("sqlite", r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"weather_averages", "zip_code_extremes"} {
		rows, err := db.Query("SELECT * FROM " + table)
		if err != nil {
			return nil, nil // there is no table yet
		}
		columns, err := rows.Columns()
		if err != nil {
			r.t.Fatal(err)
		}
		for rows.Next() {
			row := map[string]any{}
			into := make([]any, len(columns))
			for i := range into {
				into[i] = new(any)
			}
			if err := rows.Scan(into...); err != nil {
				r.t.Fatal(err)
			}
			for i, name := range columns {
				row[name] = *into[i].(*any)
			}
			r.cells(table, row, values, of)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			r.t.Fatal(err)
		}
	}
	for at, revision := range of {
		if other, ok := of[[2]string{"weather_averages", at[1]}]; ok && at[0] == "zip_code_extremes" {
			revisions[at[1]] = min(revision, other)
		}
	}
	return values, revisions
}

func (r *rig) cells(table string, row map[string]any, values map[cell]float64, of map[[2]string]int64) {
	r.t.Helper()
	at := time.UnixMicro(row["time"].(int64)).UTC()
	if want := at.Format("15"); row["hour"] != want {
		r.t.Errorf("hour is %v, want %s", row["hour"], want)
	}
	hour, member := at.Format("2006-01-02T15"), ""
	if zip, ok := row["zip_code"]; ok {
		member = zip.(string)
	}
	revision := row["revision"].(int64)
	if other, ok := of[[2]string{table, hour}]; ok && other != revision {
		r.t.Errorf("%s of %s has rows of revision %d and %d", table, hour, other, revision)
	}
	of[[2]string{table, hour}] = revision
	for name, v := range row {
		if v == nil || !slices.ContainsFunc(fields, func(f string) bool { return strings.HasSuffix(name, f) }) {
			continue
		}
		number, ok := v.(float64)
		if !ok {
			number = float64(v.(int64))
		}
		values[cell{table, hour, row["state"].(string), member, name}] = number
	}
}

// compare holds what the tables have against what the rows give.
func (r *rig) compare(all []observation) {
	r.t.Helper()
	got, _ := r.reports()
	want := plain(all)
	if maps.Equal(got, want) {
		return
	}
	bad := 0
	for at, v := range want {
		if g, ok := got[at]; (!ok || g != v) && bad < 10 {
			bad++
			r.t.Errorf("%v: got %v (%v), want %v", at, g, ok, v)
		}
	}
	for at := range got {
		if _, ok := want[at]; !ok && bad < 20 {
			bad++
			r.t.Errorf("%v should not be there", at)
		}
	}
}
