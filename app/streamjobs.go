package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/filesource"
	"holdfast/connector/split"
	"holdfast/job/collect"
	"holdfast/job/stream/ingester"
	"holdfast/job/stream/processor"
	"holdfast/job/stream/report"
	"holdfast/job/stream/serve"
	"holdfast/job/stream/streamer"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Spec declares the job to the engine.
func (c *streamConfig) spec(p *Plan, job Job) engine.Spec {
	return engine.Spec{Name: job.Name, Kind: job.Kind, Role: c.role(), Config: job.Text, Once: c.once,
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			o := opening{dataDir: p.Place.Dir, jobDir: env.Dir, log: env.Log}
			made, err := c.make(ctx, p, env, o)
			if err == nil && c.once && c.Broker.hosts() {
				made = host{made, env.Log, &p.brokers}
			}
			return made, err
		}}
}

func (c *streamConfig) make(ctx context.Context, p *Plan, env engine.Env, o opening) (engine.Job, error) {
	switch {
	case c.Streamer != nil:
		return c.streamer(ctx, p, env, o)
	case c.Ingester != nil:
		return c.ingester(ctx, p, env, o)
	case c.Processor != nil:
		return c.processor(ctx, p, env, o)
	}
	return c.api(ctx, p, env, o)
}

// host is a job that ends by itself in the process that hosts the broker: it stays until the other roles are done too,
// which could not end without the broker.
type host struct {
	engine.Job
	log     *slog.Logger
	brokers *brokers
}

func (h host) Run(ctx context.Context) error {
	err := h.Job.Run(ctx)
	if err == nil && ctx.Err() == nil {
		h.log.Info("all is done; the broker stays until the other roles have left it")
		h.brokers.untilAlone(ctx)
	}
	return err
}

func (c *streamConfig) names() wire.Names { return wire.Names{Prefix: c.Channels} }

// with is a job that closes what was opened for it, and may have notes behind its own.
type with struct {
	engine.Job
	notes func() [][2]string // nil for none
	open  opens
	done  func() // says that its work is done; nil if nobody wants to know
}

func (w with) Run(ctx context.Context) error {
	err := errors.Join(w.Job.Run(ctx), w.open.close())
	if err == nil && ctx.Err() == nil && w.done != nil {
		w.done()
	}
	return err
}

// Prepare is the job's own, if it has one.
func (w with) Prepare(ctx context.Context, checkpoint string) error {
	if p, ok := w.Job.(engine.Preparer); ok {
		return p.Prepare(ctx, checkpoint)
	}
	return nil
}

// Notes are the role's behind those of every job of its kind.
func (w with) Notes() [][2]string {
	if w.notes == nil {
		return w.Job.Notes()
	}
	return append(w.Job.Notes(), w.notes()...)
}

// opens are what is to be closed again, the last one first.
type opens []io.Closer

func (o opens) close() (err error) {
	for _, c := range slices.Backward(o) {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (c *streamConfig) streamer(ctx context.Context, p *Plan, env engine.Env, o opening) (engine.Job, error) {
	s := c.Streamer
	open := func() (connector.Source, error) { return c.openInput(o.dataDir) }
	b, err := c.Broker.open(p)
	if err != nil {
		return nil, err
	}
	src, err := c.openInput(o.dataDir)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	speedup, err := s.speedup()
	if err != nil {
		return nil, errors.Join(err, b.Close(), src.Close())
	}
	cfg := streamer.Config{Names: c.names(), Broker: b, Group: "streamer", Source: inputName, DataSet: below(o.dataDir, s.Input), Reopen: open,
		Changed: src.Changed, Empty: src.Empty, Window: c.Window, Key: c.windowKey(), Batch: s.Batch, TimeLayout: c.Rows.layout(),
		Interval: s.WithDefaults().Interval, Speedup: speedup, RetainWindows: s.Retain.Windows, RetainBytes: int64(s.Retain.Bytes),
		Loop: s.Loop, Once: c.once}
	job, err := streamer.New(ctx, env, src, cfg)
	if err != nil {
		return nil, errors.Join(err, b.Close(), src.Close())
	}
	p.streamers.Store(env.Name, job)
	return with{Job: job, open: opens{b}}, nil
}

// always are the columns that every row has a value in, in whichever table has them at all. Values of reports may be
// null.
func (c *streamConfig) always() []string {
	nullable := append(slices.Clone(c.Rows.Tags), c.Rows.Time)
	for _, r := range c.Reports {
		for _, v := range r.Values {
			nullable = append(nullable, v.Name())
		}
	}
	out := []string{report.Revision}
	for _, col := range c.Rows.Columns {
		if !col.Optional && !slices.Contains(nullable, col.Name) {
			out = append(out, col.Name)
		}
	}
	return out
}

// openInput opens the data set, which is read to its end.
func (c *streamConfig) openInput(dataDir string) (*filesource.Once, error) {
	return filesource.OpenSet(filesource.Config{Path: below(dataDir, c.Streamer.Input), Format: c.Streamer.Format,
		Columns: c.Rows.Columns, Time: c.Rows.Time, Zone: c.Rows.zone})
}

// Changed says of each file of a data set that it is another one than was read.
func (p *Plan) Changed() (texts []string) {
	for _, j := range p.streamers.Range {
		texts = slices.AppendSeq(texts, maps.Values(j.(*streamer.Job).Changed()))
	}
	slices.Sort(texts)
	return texts
}

// windowKey makes the key of a window, nil for the hour.
func (c *streamConfig) windowKey() func(time.Time) string {
	if c.WindowKey == "" || c.WindowKey == hourWord {
		return nil
	}
	return func(from time.Time) string { return from.UTC().Format(c.WindowKey) }
}

func (c *streamConfig) ingester(ctx context.Context, p *Plan, env engine.Env, o opening) (engine.Job, error) {
	table, err := c.Rows.onWire()
	if err != nil {
		return nil, err
	}
	b, err := c.Broker.open(p)
	if err != nil {
		return nil, err
	}
	open := opens{b}
	undo := func(err error) error { return errors.Join(err, open.close()) }
	i := c.Ingester
	cfg := ingester.Config{Names: c.names(), Broker: b, Name: brokerName, Group: "ingester", Schema: table.Schema(),
		Parse: parseBatches(table), LostAfter: i.LostAfter, Window: c.Window, Key: c.Rows.Tags, Once: c.once}
	if i.OldBatches != nil {
		cfg.OldBatches = *i.OldBatches
	} else if c.Rows.Preset != "" || weatherFits(c.Rows) {
		cfg.OldBatches = weatherBatches
	}
	tables, err := c.Database.tables(o, c.always())
	if err != nil {
		return nil, undo(err)
	}
	open = append(open, tables)
	cfg.Table = c.rowsTable(tables)
	src, err := ingester.New(ctx, env, cfg)
	if err != nil {
		return nil, undo(err)
	}
	main, err := c.Database.sink(o, tableOf{name: c.Table, tags: c.Rows.Tags, time: c.Rows.Time})
	if err != nil {
		return nil, undo(err)
	}
	rows := i.Batch.WithDefaults()
	list := []collect.Sink{{Name: DatabaseSink, Sink: meets{main, src.Meet}, Rows: rows.Rows,
		Every: rows.Every, Retry: onceASecond}}
	further, sinks, err := i.Sinks.open(o)
	if err != nil {
		return nil, errors.Join(undo(err), main.Close())
	}
	whole := collectConfig{Retain: i.Retain, Quota: i.Quota, Forget: i.Forget}
	made := whole.collect(opened{noun: "rows", next: atOnce, parse: table.Parse}, env)
	made.Source, made.Again = brokerName, onceASecond
	made.Intake.OnTake, made.OnLack, made.OnSettle = src.OnTake, src.OnLack, src.OnSettle
	made.OnStart = func(_ context.Context, j *collect.Job) error { return j.Look(src.OnSettle) }
	job, err := collect.New(ctx, env, src, append(list, further...), made)
	if err != nil {
		return nil, errors.Join(undo(err), main.Close(), sinks.close())
	}
	p.running.Store(env.Name, job)
	p.ingesters.Store(env.Name, src)
	return with{Job: job, notes: src.Notes, open: open, done: p.ending(env.Name).say}, nil
}

// ending is the end of a job's work, for which others of its process may wait.
type ending struct {
	came chan struct{} // closed by say
	say  func()
}

// ending is that of a job, whether who ends or who waits is made first.
func (p *Plan) ending(job string) ending {
	came := make(chan struct{})
	e, _ := p.endings.LoadOrStore(job, ending{came, sync.OnceFunc(func() { close(came) })})
	return e.(ending)
}

// atOnce is for a source whose Fetch waits until there is something.
func atOnce(last time.Time) time.Time { return last }

// ingesterOf is the job of an ingester by its name, or the only one that has the channels of c. "" is none.
func (c *streamConfig) ingesterOf(p *Plan, name string) string {
	return only(p, func(j Job, w *streamConfig) bool {
		return name == j.Name || name == "" && w.Channels == c.Channels && w.Database.place() == c.Database.place()
	})
}

// only is the one job of an ingester that is wanted. "" is none, or several.
func only(p *Plan, wanted func(j Job, w *streamConfig) bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, j := range p.Jobs {
		if w, ok := j.work.(*streamConfig); ok && w.Ingester != nil && wanted(j, w) {
			found = append(found, j.Name)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

func (c *streamConfig) processor(ctx context.Context, p *Plan, env engine.Env, o opening) (engine.Job, error) {
	table, err := c.Rows.onWire()
	if err != nil {
		return nil, err
	}
	set, err := report.New(c.Reports, table.Schema())
	if err != nil {
		return nil, err
	}
	tables, err := c.Database.tables(o, c.always())
	if err != nil {
		return nil, err
	}
	open := opens{tables}
	undo := func(err error) error { return errors.Join(err, open.close()) }
	b, err := c.Broker.open(p)
	if err != nil {
		return nil, undo(err)
	}
	open = append(open, b)
	cfg := processor.Config{Names: c.names(), Broker: b, Group: "processor", Table: c.Table, Time: c.Rows.Time,
		Reports: set, Tables: tables, Once: c.once, Window: c.spooled(p)}
	if name := c.ingesterOf(p, c.Processor.Ingester); c.once && name != "" {
		cfg.Ended = p.ending(name).came
	}
	if c.Processor.Day != "" {
		cfg.Day, _ = time.Parse(time.DateOnly, c.Processor.Day) // checked
	}
	src, err := processor.New(env, cfg)
	if err != nil {
		return nil, undo(err)
	}
	sink, err := c.reportSink(o, set)
	if err != nil {
		return nil, undo(err)
	}
	whole := collectConfig{Retain: c.Processor.Retain}
	made := whole.collect(opened{noun: "report rows", next: atOnce}, env)
	made.Source, made.Again, made.Beside = brokerName, onceASecond, src.Gates()
	made.Intake.OnTake = src.OnTake
	job, err := collect.New(ctx, env, src, []collect.Sink{{Name: DatabaseSink + "-reports", Sink: sink,
		Every: time.Millisecond, Retry: onceASecond}}, made)
	if err != nil {
		return nil, errors.Join(undo(err), sink.Close())
	}
	p.running.Store(env.Name, job)
	return with{Job: job, open: open}, nil
}

// spooled gives the rows of a window from the spool of an ingester of this process, if they are those of the table.
func (c *streamConfig) spooled(p *Plan) func(context.Context, wire.Stored, func(arrow.RecordBatch) error) (bool, error) {
	name := c.spoolOf(p)
	if name == "" {
		return nil
	}
	return func(ctx context.Context, n wire.Stored, yield func(arrow.RecordBatch) error) (bool, error) {
		in, ok := p.ingesters.Load(name)
		if !ok {
			return false, nil
		}
		ok, err := in.(*ingester.Source).Rows(ctx, n, yield)
		if errors.Is(err, store.ErrClosed) { // it stops, or starts again
			return false, nil
		}
		return ok, err
	}
}

// reportSink hands the rows of each report to its table.
func (c *streamConfig) reportSink(o opening, set *report.Set) (connector.Sink, error) {
	var parts []split.Part
	var open opens
	for _, t := range set.Tables() {
		k, err := c.Database.sink(o, tableOf{name: t.Name, tags: t.Tags, time: report.Time, replace: report.Revision})
		if err != nil {
			return nil, errors.Join(err, open.close())
		}
		open = append(open, k)
		part := split.Part{Value: t.Name, Sink: k}
		for _, col := range t.Columns {
			part.Columns = append(part.Columns, split.Column(col))
		}
		parts = append(parts, part)
	}
	return split.New(report.TableColumn, parts)
}

func (c *streamConfig) api(ctx context.Context, p *Plan, env engine.Env, o opening) (engine.Job, error) {
	tables, err := c.Database.tables(o, c.always())
	if err != nil {
		return nil, err
	}
	job, err := serve.New(ctx, env, serve.Config{Listen: c.API.Listen, Token: c.API.Token, Tables: tables,
		Reports: c.Reports, Windows: c.windows(p), Timeout: c.API.Timeout})
	if err != nil {
		return nil, errors.Join(err, tables.Close())
	}
	p.serves.Store(env.Name, job)
	return job, nil
}

// windows asks the ingester of this process, or that of another one, what it knows.
func (c *streamConfig) windows(p *Plan) func(context.Context, serve.WindowQuery) (any, error) {
	name := c.ingesterOf(p, c.API.Ingester)
	switch {
	case c.API.IngesterDir != "" && p.Ask != nil:
		dir := below(p.Place.Dir, c.API.IngesterDir)
		return func(ctx context.Context, q serve.WindowQuery) (any, error) {
			return askWindows(ctx, p, dir, c.API.Ingester, q)
		}
	case name == "":
		return nil
	}
	return func(ctx context.Context, q serve.WindowQuery) (any, error) {
		in, ok := p.ingesters.Load(name)
		if !ok {
			return nil, fault.New(fault.Transient, "the ingester %s is not at work yet", name)
		}
		list, err := in.(*ingester.Source).Windows(ctx, ingester.Query{From: q.From, To: q.To,
			State: ingester.State(q.State), Limit: q.Limit})
		if errors.Is(err, store.ErrClosed) {
			err = fault.New(fault.Transient, "the ingester %s starts again", name)
		}
		return list, err
	}
}

// askWindows asks an engine of another process.
func askWindows(ctx context.Context, p *Plan, dir, job string, q serve.WindowQuery) (any, error) {
	path := "/api/v1/windows?" + windowValues(job, q).Encode()
	var list struct {
		Windows json.RawMessage `json:"windows"`
	}
	if err := p.Ask(ctx, dir, path, &list); err != nil {
		return nil, fault.New(fault.Transient, "the ingester in %s does not answer: %w", filepath.Clean(dir), err)
	}
	return list.Windows, nil
}
