package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
)

// collectConfig is a feed that is polled or followed, and the sinks that get each row of it exactly once.
type collectConfig struct {
	// Source is the feed: its one key is its kind.
	Source source `yaml:"source"`
	// Retain is how long rows stay that are delivered: these can be delivered again.
	Retain retain `yaml:"retain"`
	// DedupeWindow is for how long a row whose key is not an integer is known; default 30d. Whether an
	// older one came before, the sinks are asked. Integer keys are known for ever.
	DedupeWindow time.Duration `yaml:"dedupe_window"`
	// Quota bounds what all rows of the job take of the disk, those that are retained among them.
	Quota quota `yaml:"quota"`
	// Sinks are where the rows go, by names of your own: each gets all of them, and none waits for another. Each has one key
	// that is its kind, and may have those that all kinds have.
	Sinks sinkList `yaml:"sinks"`
	// Forget names sinks that are not below sinks any more and whose pending rows are given up. Without it
	// they wait for the sink to come back.
	Forget []string `yaml:"forget"`

	once bool // end after one cycle
	// onStart runs before the first page.
	onStart func(ctx context.Context, j *collect.Job, env engine.Env) error
}

type retain struct {
	// Time is how long rows stay from when they were taken in, once they are delivered; default 7d, 0s for not at all.
	Time *time.Duration `yaml:"time"`
	// Bytes: while all rows of the job take more, the oldest that are delivered go; default 20GiB, 0 for no limit. Rows that
	// wait count, and stay.
	Bytes *Bytes `yaml:"bytes"`
}

// quota are watermarks of what a job may take of the disk.
type quota struct {
	// Soft is the mark at which people are told; default three quarters of hard.
	Soft Bytes `yaml:"soft"`
	// Hard is the mark at which policy acts; default none.
	Hard Bytes `yaml:"hard"`
	// Policy: hold has intake wait, expire gives up the oldest undelivered rows; default hold.
	Policy string `yaml:"policy" jsonschema:"enum=hold,enum=expire"`
}

// source is a feed: the one key below `source:` is its kind.
type source struct {
	kind     string
	warnings Mistakes // what a person should know of it
	open     func(o opening) (opened, error)
}

// sink is one entry below `sinks:`: the key of its kind, and how it is delivered to.
type sink struct {
	name   string
	kind   string
	table  string
	spots  bool // it names no table, which is right for spots alone
	batch  batch
	limit  Bytes
	soft   Bytes
	policy collect.Policy
	retry  retry
	open   func(o opening) (connector.Sink, error)
}

type batch struct {
	// Rows is the most rows of a delivery; default 100000, or less if the sink takes no more at once.
	Rows int `yaml:"rows"`
	// Every is the longest wait of a row for company; default 10s.
	Every time.Duration `yaml:"every"`
}

// terms are the keys of a sink beside its kind.
type terms struct {
	// Batch is how many rows are delivered together.
	Batch batch `yaml:"batch"`
	// Limit is the backlog of the sink at which policy acts; default none.
	Limit Bytes `yaml:"limit"`
	// Soft is the backlog from which on people are told; default three quarters of limit.
	Soft Bytes `yaml:"soft"`
	// Policy: hold has intake wait, expire gives up the oldest rows for this sink; default hold.
	Policy string `yaml:"policy" jsonschema:"enum=hold,enum=expire"`
	// Retry is how often a sink that is away is tried.
	Retry retry `yaml:"retry"`
}

// retry says how often a sink that is away is tried; no sink waits for another.
type retry struct {
	// Initial is the pause after the first failure; default 100ms.
	Initial time.Duration `yaml:"initial"`
	// Max is the longest pause, 1h at most; default 700ms.
	Max time.Duration `yaml:"max"`
	// Jitter is the part of itself by which a pause varies, 0 to 1; default 0.5.
	Jitter *float64 `yaml:"jitter"`
}

// maxRetry bounds the pause between two tries.
const maxRetry = time.Hour

func (r retry) check(d *decoder, n ast.Node, path string) {
	if r.Initial < 0 || r.Max < 0 || r.Max > 0 && r.Max < orElse(r.Initial, 100*time.Millisecond) {
		d.Bad(n, path, "want a max that is not below initial (default 100ms), and neither below 0")
	}
	if longest := max(r.Initial, r.Max); longest > maxRetry {
		d.Bad(n, path, "want pauses of at most %v, got %v: a sink that is back would wait for them", maxRetry, longest)
	}
	if j := r.Jitter; j != nil && (*j < 0 || *j > 1) {
		d.Bad(d.at(n, "jitter"), path+".jitter", "want a number from 0 to 1, got %v", *j)
	}
}

// terms are those of the job.
func (r retry) terms() collect.Retry {
	out := collect.Retry{Initial: r.Initial, Max: r.Max}
	if r.Jitter != nil {
		out.Jitter = orElse(*r.Jitter, -1)
	}
	return out
}

type sinkList []sink

func (s *source) decode(d *decoder, n ast.Node, path string) {
	kind, _, ok := d.one(entry{At: n, Value: n}, path, "kind of source", kindNames(sources), nil)
	if !ok {
		return
	}
	k := sources[slices.Index(kindNames(sources), kind.Key)]
	path = strictyaml.Join(path, kind.Key)
	c := k.decode(d, kind, path)
	s.kind, s.open = kind.Key, k.with(c)
	for _, w := range warnings(c) {
		s.warnings = append(s.warnings, d.complaint(kind, path, w))
	}
}

func (l *sinkList) decode(d *decoder, n ast.Node, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	for _, e := range entries {
		if why := identifier.Check("sink", e.Key); why != "" {
			d.Bad(e.At, path, "%s", why)
			continue
		}
		d.sink(l, e, strictyaml.Join(path, e.Key))
	}
}

// termNames are the keys of terms.
var termNames = []string{"batch", "limit", "policy", "retry", "soft"}

func (d *decoder) sink(l *sinkList, e entry, path string) {
	kind, _, ok := d.one(e, path, "kind of sink", kindNames(sinks), termNames)
	if !ok {
		return
	}
	var t terms
	entries, _ := d.Entries(e.Value, path)
	for _, k := range entries {
		switch p := strictyaml.Join(path, k.Key); k.Key {
		case "batch":
			d.Decode(k.Value, reflect.ValueOf(&t.Batch).Elem(), p)
			if t.Batch.Rows < 0 {
				d.Bad(d.at(k.Value, "rows"), p+".rows", "want a number from 1, got %d", t.Batch.Rows)
			}
			if t.Batch.Every < 0 {
				d.Bad(d.at(k.Value, "every"), p+".every", "want a time that is not below 0, got %v", t.Batch.Every)
			}
		case "retry":
			d.Decode(k.Value, reflect.ValueOf(&t.Retry).Elem(), p)
			t.Retry.check(d, k.Value, p)
		case "limit":
			d.Decode(k.Value, reflect.ValueOf(&t.Limit).Elem(), p)
		case "soft":
			d.Decode(k.Value, reflect.ValueOf(&t.Soft).Elem(), p)
		case "policy":
			d.Decode(k.Value, reflect.ValueOf(&t.Policy).Elem(), p)
			d.policy(k.Value, p, t.Policy)
		}
	}
	if t.Limit > 0 && t.Soft >= t.Limit {
		d.Bad(d.at(e.Value, "soft"), strictyaml.Join(path, "soft"), "want less than limit, where policy acts")
	}
	if t.Policy == string(collect.Expire) && t.Limit == 0 {
		d.Bad(d.at(e.Value, "policy"), strictyaml.Join(path, "policy"), "expire needs a limit beside it")
	}
	k := sinks[slices.Index(kindNames(sinks), kind.Key)]
	c := k.decode(d, kind, strictyaml.Join(path, kind.Key))
	if i := slices.IndexFunc(*l, func(s sink) bool { return s.table == table(c) }); i >= 0 {
		d.Bad(e.At, path, "sink %s writes to the same table; want one sink for each", (*l)[i].name)
	}
	*l = append(*l, sink{name: e.Key, kind: kind.Key, table: table(c), batch: t.Batch, limit: t.Limit,
		soft: t.Soft, policy: collect.Policy(t.Policy), retry: t.Retry,
		open: k.with(c), spots: namesNoTable(c)})
}

// policy refuses what is none.
func (d *decoder) policy(n ast.Node, path, p string) {
	if p != string(collect.Hold) && p != string(collect.Expire) {
		d.Bad(n, path, "want hold or expire, got %q", p)
	}
}

func (q quota) check(d *decoder, job []entry, path string) {
	i := slices.IndexFunc(job, func(e entry) bool { return e.Key == "quota" })
	if i < 0 {
		return
	}
	n := job[i].Value
	if q.Policy != "" {
		d.policy(d.at(n, "policy"), strictyaml.Join(path, "policy"), q.Policy)
		if q.Hard == 0 {
			d.Bad(d.at(n, "policy"), strictyaml.Join(path, "policy"), "a policy needs a hard mark beside it")
		}
	}
	if q.Hard > 0 && q.Soft >= q.Hard {
		d.Bad(d.at(n, "soft"), strictyaml.Join(path, "soft"), "want less than hard, where policy acts")
	}
}

func (c *collectConfig) check(d *decoder, n ast.Node, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	c.Quota.check(d, entries, strictyaml.Join(path, "quota"))
	for _, key := range []string{"source", "sinks"} {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.Key == key && !strictyaml.Empty(e.Value) }) {
			d.Bad(n, path, "%s is missing", key)
		}
	}
	for _, s := range c.Sinks {
		if s.spots && c.Source.kind != "" && c.Source.kind != wsprnetKind {
			d.Bad(d.at(n, "sinks", s.name, s.kind), strictyaml.Join(path, "sinks."+s.name+"."+s.kind), "table is missing; name the one that has the rows "+
				"(while none had to be named, that was %s)", sqlite.Spots)
		}
	}
	for i, name := range c.Forget {
		at, p := d.at(n, "forget"), fmt.Sprintf("%s[%d]", strictyaml.Join(path, "forget"), i)
		if why := identifier.Check("sink", name); why != "" {
			d.Bad(at, p, "%s", why)
		} else if slices.ContainsFunc(c.Sinks, func(s sink) bool { return s.name == name }) {
			// Else the rows that wait for it would go on the day that it leaves the file by mistake.
			d.Bad(at, p, "%s is configured; forget is for sinks that are not any more", name)
		}
	}
}

// spec declares the job to the engine.
func (c *collectConfig) spec(p *Plan, job Job) engine.Spec {
	return engine.Spec{Name: job.Name, Kind: job.Kind, Config: job.Text, Once: c.once,
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			return c.build(ctx, p, env)
		}}
}

func (c *collectConfig) build(ctx context.Context, p *Plan, env engine.Env) (engine.Job, error) {
	o := opening{dataDir: p.Place.Dir, jobDir: env.Dir, log: env.Log}
	src, err := c.Source.open(o)
	if err != nil {
		return nil, fmt.Errorf("open source %s: %w", c.Source.kind, err)
	}
	list, open, err := c.Sinks.open(o)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	job, err := collect.New(ctx, env, src, list, c.collect(src, env))
	if err != nil {
		return nil, errors.Join(err, open.close(), src.Close())
	}
	for _, w := range c.Source.warnings {
		job.Remark(w.Path + ": " + w.Text)
	}
	p.running.Store(env.Name, job)
	return job, nil
}

// open opens the sinks of a job.
func (l sinkList) open(o opening) (list []collect.Sink, open opens, err error) {
	for _, s := range l {
		k, err := s.open(o)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("open sink %s: %w", s.name, err), open.close())
		}
		open = append(open, k)
		b := s.batch.WithDefaults()
		list = append(list, collect.Sink{Name: s.name, Sink: k, Rows: b.Rows, Every: b.Every,
			Limit: int64(s.limit), Soft: int64(s.soft), Policy: s.policy, Retry: s.retry.terms()})
	}
	return list, open, nil
}

func (c *collectConfig) collect(src opened, env engine.Env) collect.Config {
	kept := c.Retain.WithDefaults()
	cfg := collect.Config{Source: c.Source.kind, Forget: c.Forget, NextPoll: src.next,
		Mended: src.mended, Noun: src.noun, Once: c.once,
		Intake: collect.IntakeOptions{Window: c.DedupeWindow, Parse: src.parse},
		Retain: spool.Retain{Age: *kept.Time, Bytes: int64(*kept.Bytes)},
		Quota: collect.Quota{Policy: collect.Policy(c.Quota.Policy),
			Marks: engine.Marks{Soft: int64(c.Quota.Soft), Hard: int64(c.Quota.Hard)}}}
	if c.onStart != nil {
		cfg.OnStart = func(ctx context.Context, j *collect.Job) error { return c.onStart(ctx, j, env) }
	}
	return cfg
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// sinkNamed opens one sink of the job and prepares it, for an audit.
func (c *collectConfig) sinkNamed(ctx context.Context, p *Plan, job, name string) (connector.Sink,
	error) {
	i := slices.IndexFunc(c.Sinks, func(s sink) bool { return s.name == name })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "the configuration has no sink %s", name)
	}
	o := opening{dataDir: p.Place.Dir, jobDir: engine.JobDir(p.Place.Dir, job), log: p.Log}
	src, err := c.Source.open(o)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	k, err := c.Sinks[i].open(o)
	if err != nil {
		return nil, err
	}
	if err := k.Prepare(ctx, src.Schema()); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}
