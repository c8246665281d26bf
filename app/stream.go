package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/goccy/go-yaml/ast"

	"holdfast/base/fault"
	"holdfast/base/secret"
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

// streamConfig is the part of a configuration below `stream:`: one role, and what all roles of a stream share.
type streamConfig struct {
	// Broker is what the roles talk over; default a server in this process.
	Broker broker `yaml:"broker"`
	// Channels is what the names of channels begin with; default weather_channel.
	Channels string `yaml:"channels"`
	// Window is how long a window is; default 1h. They are aligned to it, in UTC.
	Window time.Duration `yaml:"window"`
	// WindowKey is what channels call a window: hour (default), or a layout of its beginning such as 20060102T1504.
	WindowKey string `yaml:"window_key"`
	Rows      rowsOf `yaml:"rows"`
	// Database is where rows and reports are kept, rows in Table; default weather_data.
	Database database `yaml:"database"`
	Table    string   `yaml:"table"`
	// Reports are what a processor makes and the API shows; default those of the preset.
	Reports report.List `yaml:"reports"`

	Streamer  *streamerConfig  `yaml:"streamer"`
	Ingester  *ingesterConfig  `yaml:"ingester"`
	Processor *processorConfig `yaml:"processor"`
	API       *apiConfig       `yaml:"api"`

	once bool // it ends when all is done
}

type streamerConfig struct {
	// Input is the data set: a file, or several by a pattern such as /data/day-*.csv, read in the order of their names.
	Input string `yaml:"input"`
	// Format is csv, jsonl or parquet; default by the name's end.
	Format string `yaml:"format"`
	// Batch is the most rows of a batch; default 500.
	Batch int `yaml:"batch"`
	// Interval is the wall time of a window; default 5m. Speedup divides event time instead, or is max.
	Interval time.Duration `yaml:"interval"`
	Speedup  string        `yaml:"speedup"`
	// Loop begins the data set again at its end, as the days behind it.
	Loop bool `yaml:"loop"`
	// Retain is for how long windows can be asked for once more.
	Retain struct {
		Windows int   `yaml:"windows"` // confirmed ones; default 48
		Bytes   Bytes `yaml:"bytes"`   // of all; default 2GiB
	} `yaml:"retain"`
}

type ingesterConfig struct {
	// LostAfter is for how long nothing of a window must have come until it is lost; default never.
	LostAfter time.Duration `yaml:"lost_after"`
	// OldBatches is how many batches a window of WeatherVane's streamer has; default 88 with the preset, else it is
	// learnt.
	OldBatches *int `yaml:"old_batches"`
	// Batch is how rows are delivered to the database; default 10000 rows, or every 200ms.
	Batch  batch    `yaml:"batch"`
	Retain retain   `yaml:"retain"`
	Quota  quota    `yaml:"quota"`
	Sinks  sinkList `yaml:"sinks"` // further ones
	Forget []string `yaml:"forget"`
}

type processorConfig struct {
	// Day is the day of the hours of WeatherVane's ingester, such as 2023-09-19; default the newest in the table.
	Day string `yaml:"day"`
	// Ingester is the job of this file that may still hold a window; default the only one.
	Ingester string `yaml:"ingester"`
	Retain   retain `yaml:"retain"`
}

type apiConfig struct {
	// Listen is host:port; default 127.0.0.1:5000.
	Listen string      `yaml:"listen"`
	Token  secret.Text `yaml:"token"`
	// Ingester is the job that knows the windows; default the only one of this file.
	Ingester string `yaml:"ingester"`
	// IngesterDir is the data directory of another process whose ingester knows them.
	IngesterDir string        `yaml:"ingester_dir"`
	Timeout     time.Duration `yaml:"timeout"`
}

// The names by which the books and the gates know what a stream depends on.
const (
	brokerName   = "broker"
	databaseName = "database"
	inputName    = "input"
)

const (
	defaultInterval  = 5 * time.Minute
	defaultAPIListen = "127.0.0.1:5000"
	weatherBatches   = 88
)

// once a second: what is away is tried no oftener, and found again within that time.
var onceASecond = collect.Retry{Initial: time.Second, Max: time.Second, Jitter: -1}

func (c *streamConfig) check(d *decoder, n ast.Node, path string) {
	c.Broker.kind = orElse(c.Broker.kind, embeddedBroker)
	c.Channels = orElse(c.Channels, wire.DefaultPrefix)
	c.Window = orElse(c.Window, time.Hour)
	c.Table = orElse(c.Table, weatherTable)
	if err := (wire.Names{Prefix: c.Channels}).Check(); err != nil {
		d.bad(d.at(n, "channels"), join(path, "channels"), "%v", err)
	}
	if c.Window < time.Second || c.Window%time.Second != 0 {
		d.bad(d.at(n, "window"), join(path, "window"), "want whole seconds, got %v", c.Window)
	}
	if c.WindowKey != "" && c.WindowKey != hourWord {
		key := time.Unix(1e9, 0).UTC().Format(c.WindowKey)
		if _, err := wire.ParsePlace("0:" + key); err != nil || key == c.WindowKey ||
			(connector.Message{Topic: "x", Key: key}).Check() != nil {
			d.bad(d.at(n, "window_key"), join(path, "window_key"), "want hour, or a layout that makes one word of letters "+
				"and digits, such as 20060102T1504, got %q", c.WindowKey)
		}
	}
	before := len(d.mistakes)
	c.Rows.check(d, n, join(path, "rows"))
	goodRows := len(d.mistakes) == before
	c.checkRole(d, n, path)
	if c.Streamer == nil && d.at(n, "database") == n {
		d.bad(n, join(path, "database"), "is missing")
	}
	if goodRows {
		c.checkReports(d, n, path)
	}
	for _, role := range []interface {
		check(c *streamConfig, d *decoder, n ast.Node, path string)
	}{c.Streamer, c.Ingester, c.Processor, c.API} {
		role.check(c, d, n, path)
	}
}

const hourWord = "hour"

// roles are the keys of which a stream job has one.
var roles = []string{"streamer", "ingester", "processor", "api"}

func (c *streamConfig) checkRole(d *decoder, n ast.Node, path string) {
	entries, _ := d.entries(n, path)
	var have []string
	for _, e := range entries {
		if slices.Contains(roles, e.key) {
			if have = append(have, e.key); len(have) == 2 {
				d.bad(e.at, path, "there is a second role; want one, and a job of its own for the other")
			}
		}
		if empty(e.value) { // all of its keys have defaults
			switch e.key {
			case "ingester":
				c.Ingester = new(ingesterConfig)
			case "processor":
				c.Processor = new(processorConfig)
			case "api":
				c.API = new(apiConfig)
			}
		}
	}
	if len(have) == 0 {
		d.bad(n, path, "the role is missing; want one of: %s", strings.Join(roles, ", "))
	}
}

func (c *streamConfig) checkReports(d *decoder, n ast.Node, path string) {
	if len(c.Reports) == 0 {
		if weatherFits(c.Rows) {
			c.Reports = report.Weather()
		} else if c.Processor != nil || c.API != nil {
			d.bad(n, join(path, "reports"), "is missing, and those of the preset can't be made of these columns")
		}
		return
	}
	errs := c.Reports.Validate()
	if t, err := c.Rows.onWire(); err == nil && len(errs) == 0 {
		errs = c.Reports.Fits(t.Schema())
	}
	for _, err := range errs {
		key, text := keyed(err)
		d.bad(d.at(n, strings.Split(listIndex.ReplaceAllString(key, ""), ".")...), join(path, key), "%s", text)
	}
}

// weatherFits reports whether the reports of the preset can be made of rows.
func weatherFits(r rowsOf) bool {
	t, err := r.onWire()
	return err == nil && len(report.Weather().Fits(t.Schema())) == 0
}

// checkStreams refuses two jobs that would take each other's messages, and two embedded brokers.
func (c *Config) checkStreams(d *decoder, root ast.Node) {
	seen := map[string]string{} // role, broker and channels -> job
	var server *embedded
	for _, j := range c.Jobs {
		w, ok := j.work.(*streamConfig)
		if !ok {
			continue
		}
		at := func(keys ...string) (ast.Node, string) {
			keys = append([]string{"jobs", j.Name, j.Kind}, keys...)
			return d.at(root, keys...), strings.Join(keys, ".")
		}
		if role := w.role(); role != "api" && role != "" {
			key := strings.Join([]string{role, w.Broker.place(), w.Channels}, "\x00")
			if other := seen[key]; other != "" {
				n, p := at(role)
				d.bad(n, p, "job %s is the %s of these channels already; give this one channels of its own", other, role)
			}
			seen[key] = j.Name
		}
		if w.API != nil || w.Broker.kind != embeddedBroker {
			continue
		}
		if server != nil && *server != w.Broker.embedded {
			n, p := at("broker")
			d.bad(n, p, "another job wants another embedded broker, and a process has one: write the same for all")
		}
		server = &w.Broker.embedded
	}
}

// role is which one the job has, "" for none.
func (c *streamConfig) role() string {
	switch {
	case c.Streamer != nil:
		return "streamer"
	case c.Ingester != nil:
		return "ingester"
	case c.Processor != nil:
		return "processor"
	case c.API != nil:
		return "api"
	}
	return ""
}

func (s *streamerConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if s == nil {
		return
	}
	path = join(path, "streamer")
	at := func(key string) (ast.Node, string) { return d.at(n, "streamer", key), join(path, key) }
	if s.Input == "" {
		a, p := at("input")
		d.bad(a, p, "is missing")
	}
	if s.Format = orElse(s.Format, formatOf(s.Input)); s.Input != "" && !slices.Contains([]string{"csv", "jsonl",
		"parquet"}, s.Format) {
		a, p := at("format")
		d.bad(a, p, "want csv, jsonl or parquet")
	}
	if s.Batch < 0 {
		a, p := at("batch")
		d.bad(a, p, "want a number from 1, got %d", s.Batch)
	}
	if s.Interval < 0 {
		a, p := at("interval")
		d.bad(a, p, "want a time that is not below 0, got %v", s.Interval)
	}
	a, p := at("speedup")
	if _, err := s.speedup(); err != nil {
		d.bad(a, p, "%v", err)
	} else if s.Speedup != "" && s.Interval > 0 {
		d.bad(a, p, "interval fixes the wall time of a window already; want one of them")
	}
}

// fastest is the speedup that knows no clock.
const fastest = "max"

// speedup is 0 for as fast as can be, and where an interval says it.
func (s *streamerConfig) speedup() (float64, error) {
	if s.Speedup == "" || s.Speedup == fastest {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s.Speedup, 64)
	if err != nil || !(f > 0 && f < 1e9) {
		return 0, fmt.Errorf("want a number above 0, or %s, got %q", fastest, s.Speedup)
	}
	return f, nil
}

func (i *ingesterConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if i == nil {
		return
	}
	path = join(path, "ingester")
	before := len(d.mistakes)
	entries, ok := d.entries(d.at(n, "ingester"), path)
	if !ok { // which was told when it was read
		d.mistakes = d.mistakes[:before]
		return
	}
	i.Quota.check(d, entries, join(path, "quota"))
	if i.LostAfter < 0 {
		d.bad(d.at(n, "ingester", "lost_after"), join(path, "lost_after"), "want a time above 0, got %v", i.LostAfter)
	}
	if i.OldBatches != nil && *i.OldBatches < 0 {
		d.bad(d.at(n, "ingester", "old_batches"), join(path, "old_batches"), "want a number from 0, got %d", *i.OldBatches)
	}
	for _, s := range i.Sinks {
		if s.name == databaseName {
			d.bad(d.at(n, "ingester", "sinks"), join(path, "sinks"), "%s is the name of the stream's own; choose another",
				databaseName)
		}
	}
}

func (p *processorConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if p == nil || p.Day == "" {
		return
	}
	if _, err := time.Parse(time.DateOnly, p.Day); err != nil {
		d.bad(d.at(n, "processor", "day"), join(path, "processor.day"), "want a day such as 2023-09-19, got %q", p.Day)
	}
}

func (a *apiConfig) check(_ *streamConfig, d *decoder, n ast.Node, path string) {
	if a == nil {
		return
	}
	a.Listen = orElse(a.Listen, defaultAPIListen)
	if why := checkListen(a.Listen, a.Token != ""); why != "" {
		d.bad(d.at(n, "api", "listen"), join(path, "api.listen"), "%s", why)
	}
}

// spec declares the job to the engine.
func (c *streamConfig) spec(p *Plan, job Job) engine.Spec {
	return engine.Spec{Name: job.Name, Kind: job.Kind, Config: job.Text, Once: c.once,
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			o := opening{dataDir: p.Place.Dir, jobDir: env.Dir, log: env.Log}
			switch {
			case c.Streamer != nil:
				return c.streamer(ctx, p, env, o)
			case c.Ingester != nil:
				return c.ingester(ctx, p, env, o)
			case c.Processor != nil:
				return c.processor(ctx, p, env, o)
			}
			return c.api(ctx, p, env, o)
		}}
}

func (c *streamConfig) names() wire.Names { return wire.Names{Prefix: c.Channels} }

// with is a job that closes what was opened for it.
type with struct {
	engine.Job
	open opens
}

func (w with) Run(ctx context.Context) error {
	return errors.Join(w.Job.Run(ctx), w.open.close())
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
	input := below(o.dataDir, s.Input)
	open := func() (connector.Source, error) {
		return filesource.Open(filesource.Config{Path: input, Mode: "once", Format: s.Format, Columns: c.Rows.Columns,
			Time: c.Rows.Time, Zone: c.Rows.zone}, filesource.Options{End: true})
	}
	b, err := c.Broker.open(p)
	if err != nil {
		return nil, err
	}
	src, err := open()
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	speedup, err := s.speedup()
	if err != nil {
		return nil, errors.Join(err, b.Close(), src.Close())
	}
	cfg := streamer.Config{Names: c.names(), Broker: b, Group: "streamer", Source: inputName, DataSet: input, Reopen: open,
		Window: c.Window, Key: c.windowKey(), Batch: s.Batch, TimeLayout: c.Rows.layout(), Interval: s.Interval,
		Speedup: speedup, RetainWindows: s.Retain.Windows, RetainBytes: int64(s.Retain.Bytes), Loop: s.Loop, Once: c.once}
	if s.Speedup == "" && s.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	job, err := streamer.New(ctx, env, src, cfg)
	if err != nil {
		return nil, errors.Join(err, b.Close(), src.Close())
	}
	return with{job, opens{b}}, nil
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

// windowKey makes the key of a window, nil for the hour.
func (c *streamConfig) windowKey() func(time.Time) string {
	if c.WindowKey == "" || c.WindowKey == hourWord {
		return nil
	}
	return func(from time.Time) string { return from.UTC().Format(c.WindowKey) }
}

// streamJob is a collect job whose source is a role of a stream.
type streamJob struct {
	*collect.Job
	notes func() [][2]string
	open  opens
}

func (j streamJob) Run(ctx context.Context) error { return errors.Join(j.Job.Run(ctx), j.open.close()) }

// Notes are the role's own behind those of every collect job.
func (j streamJob) Notes() [][2]string {
	if j.notes == nil {
		return j.Job.Notes()
	}
	return append(j.Job.Notes(), j.notes()...)
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
		Parse: parseBatches(table), LostAfter: i.LostAfter, Window: c.Window, Once: c.once}
	if i.OldBatches != nil {
		cfg.OldBatches = *i.OldBatches
	} else if c.Rows.Preset != "" || weatherFits(c.Rows) {
		cfg.OldBatches = weatherBatches
	}
	src, err := ingester.New(ctx, env, cfg)
	if err != nil {
		return nil, undo(err)
	}
	main, err := c.Database.sink(o, tableOf{name: c.Table, tags: c.Rows.Tags, time: c.Rows.Time})
	if err != nil {
		return nil, undo(err)
	}
	list := []collect.Sink{{Name: databaseName, Sink: main, Rows: orElse(i.Batch.Rows, 10_000),
		Every: orElse(i.Batch.Every, 200*time.Millisecond), Retry: onceASecond}}
	further, sinks, err := i.Sinks.open(o)
	if err != nil {
		return nil, errors.Join(undo(err), main.Close())
	}
	whole := collectConfig{Retain: i.Retain, Quota: i.Quota, Forget: i.Forget}
	made := whole.collect(opened{noun: "rows", next: atOnce, parse: table.Parse}, env)
	made.Source, made.Again = brokerName, onceASecond
	made.Intake.OnTake, made.OnSettle = src.OnTake, src.OnSettle
	made.OnStart = func(_ context.Context, j *collect.Job) error { return j.Look(src.OnSettle) }
	job, err := collect.New(ctx, env, src, append(list, further...), made)
	if err != nil {
		return nil, errors.Join(undo(err), main.Close(), sinks.close())
	}
	p.running.Store(env.Name, job)
	p.ingesters.Store(env.Name, src)
	return streamJob{job, src.Notes, open}, nil
}

// atOnce is for a source whose Fetch waits until there is something.
func atOnce(last time.Time) time.Time { return last }

// ingesterOf is the job of an ingester by its name, or the only one that has the channels of c. "" is none.
func (c *streamConfig) ingesterOf(p *Plan, name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, j := range p.Jobs {
		if w, ok := j.work.(*streamConfig); ok && w.Ingester != nil && (name == j.Name || name == "" &&
			w.Channels == c.Channels && w.Database.place() == c.Database.place()) {
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
	job, err := collect.New(ctx, env, src, []collect.Sink{{Name: databaseName + "-reports", Sink: sink,
		Every: time.Millisecond, Retry: onceASecond}}, made)
	if err != nil {
		return nil, errors.Join(undo(err), sink.Close())
	}
	p.running.Store(env.Name, job)
	return streamJob{job, nil, open}, nil
}

// spooled gives the rows of a window from the spool of an ingester of this process.
func (c *streamConfig) spooled(p *Plan) func(context.Context, wire.Stored, func(arrow.RecordBatch) error) (bool, error) {
	name := c.ingesterOf(p, c.Processor.Ingester)
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
