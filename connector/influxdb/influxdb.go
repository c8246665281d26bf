// Package influxdb is the sink that writes rows as points of InfluxDB, and a client that asks it in
// InfluxQL.
//
//	sinks:
//	  main:
//	    influxdb: {database: wspr, measurement: spots, tags: [band], precision: s, spread: id, create: true}
//
// Promise, for 1.x: exactly once, by what a point is. Its measurement, tags and time are its identity, and
// to write it again with the same fields changes nothing. A delivery's lines are the same at every
// attempt, so a repeat has no effect: at once, after a restart, after hours, and when an attempt that was
// abandoned is executed late. Two rows with one identity would overwrite each other, silently; so rows
// need something that keeps them apart, and Prepare refuses them otherwise:
//   - their key, if it is no integer, is a tag;
//   - `spread`: an integer column, most often the key, stands in the digits of the time below its precision;
//   - `unique`: the configuration says that tags and time tell all rows apart.
//
// Rows that are computed again have a revision that says which of them stand:
//
//	reports:
//	  influxdb: {database: weather, measurement: averages, tags: [state], unique: true, replace: revision}
//
// Of each time only the points with the highest revision stand. What comes with a higher one takes the
// place of all that the measurement had of that time, tags or no tags the same; what comes with a lower one
// is present already. So it does not matter in which order deliveries come, nor how often or in how many
// parts. A row that is refused supersedes nothing. It is not one transaction (replace.go): for a moment
// points of two revisions are to be seen beside each other. The measurement must be this sink's alone, in
// one retention policy; and a request that something between us and the server holds back until other
// deliveries have come is not foreseen.
//
// In one delivery we look ourselves: a row with the identity of another is refused, unless it is the same
// in all. Over deliveries the last that is written stays.
//
// For 2.x and 3.x the same lines go to /api/v2/write; that is checked against the documented protocol and
// no such server, and rows are not asked for by key there. Traits say at least once.
//
// A refusal of some points (400 `partial write`) does not say of which. The request is halved until the
// refused stand alone, which the points that were taken do not notice; they become RowFaults with the
// server's words. An answer other than 204 is never taken for a success.
//
// The bytes. Integers of all widths become integers (above 2^63-1 the row is refused), floats floats (one
// that is not finite is refused), booleans, strings; times are RFC 3339 and bytes base64, as strings. A
// null is left out; a tag that is null or empty is no tag. A tag can't hold control characters, nor end
// in a backslash. The key is always kept, so that rows can be asked for by it.
package influxdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// Sink writes to one database or bucket.
type Sink struct {
	*Client
	cfg Config

	turn sync.Mutex // one write at a time

	mu      sync.Mutex // guards what stands below; held for a moment only
	schema  *record.Schema
	types   map[string][]string // of the fields that the server has; nil if it was not asked
	pending []byte              // a line of the delivery that failed last
	// Where points supersede others:
	unsure      bool  // an attempt has begun, and its end is not known
	latest      int64 // no point is later, as far as is known
	knowsLatest bool
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg Config) (*Sink, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, fault.New(fault.Permanent, "open influxdb sink: %w", errors.Join(faults...))
	}
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Sink{Client: c, cfg: cfg.WithDefaults()}, nil
}

// Traits promises exactly once of a server that was tried.
func (s *Sink) Traits() connector.SinkTraits {
	if s.cfg.Bucket != "" {
		return connector.SinkTraits{Exactness: connector.AtLeastOnce}
	}
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}

// Prepare refuses rows that can't become points, makes what it was told to make, and compares the types of
// the fields with those that the server has.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	if err := s.prepare(ctx, schema); err != nil {
		return s.classify("prepare", err)
	}
	return nil
}

func (s *Sink) prepare(ctx context.Context, schema record.Schema) error {
	promised, err := withoutOptional(schema)
	if err != nil {
		return err
	}
	m, err := s.cfg.mappingOf(promised)
	if err != nil {
		return err
	}
	err = s.touch(ctx, nil)
	if fault.Is(err, fault.NotFound) && s.cfg.Create {
		err = s.create(ctx)
	}
	if s.cfg.RetentionPolicy != "" && (err == nil || fault.Is(err, fault.NotFound)) {
		err = s.policy(ctx)
	}
	if err != nil {
		return s.gone(err)
	}
	types, err := s.fields(ctx)
	if err == nil {
		err = fits(promised, m, types)
	}
	if err == nil && m.revision >= 0 {
		err = s.alone(ctx)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.schema, s.types, s.knowsLatest = &schema, types, false
	s.mu.Unlock()
	return nil
}

// withoutOptional is a schema with the columns that it promises.
func withoutOptional(s record.Schema) (record.Schema, error) {
	md := s.Metadata()
	return record.SchemaOf(arrow.NewSchema(slices.DeleteFunc(s.Fields(), record.IsOptional), &md))
}

// touch writes lines that change nothing, or none. A refusal because of them shows that the rest is well.
func (s *Sink) touch(ctx context.Context, text []byte) error {
	err := s.post(ctx, text, s.precision())
	a, ok := errors.AsType[*answer](err)
	switch {
	case ok && a.ofRows() && (len(text) > 0 || s.cfg.Bucket != ""): // 2.x says that there are no points
		return nil
	case ok:
		return a.judge()
	}
	return err
}

// precision is that of the times which are sent.
func (s *Sink) precision() string {
	if s.cfg.Spread != "" {
		return "ns"
	}
	return s.cfg.Precision
}

func (s *Sink) create(ctx context.Context) error {
	return s.do(ctx, "CREATE DATABASE "+identifier(s.cfg.Database))
}

// do runs a statement whose answer has no rows.
func (s *Sink) do(ctx context.Context, statement string) error {
	return s.Query(ctx, statement, nil, func(Row) error { return nil })
}

// policy looks for the retention policy, or makes it.
func (s *Sink) policy(ctx context.Context) error {
	found := false
	err := s.Query(ctx, "SHOW RETENTION POLICIES ON "+identifier(s.cfg.Database), nil, func(r Row) error {
		found = found || r.Value("name") == s.cfg.RetentionPolicy
		return nil
	})
	if err != nil || found {
		return err
	}
	if !s.cfg.Create {
		return fault.New(fault.NotFound, "there is no retention policy %s", s.cfg.RetentionPolicy)
	}
	keep := "INF"
	if s.cfg.Retention > 0 {
		keep = fmt.Sprintf("%ds", int64(s.cfg.Retention/time.Second))
	}
	return s.do(ctx, "CREATE RETENTION POLICY "+identifier(s.cfg.RetentionPolicy)+" ON "+
		identifier(s.cfg.Database)+" DURATION "+keep+" REPLICATION 1")
}

// fields asks for the types of the measurement's fields; a field may have several, in different shards.
// It is nil where they can't be asked for.
func (s *Sink) fields(ctx context.Context) (map[string][]string, error) {
	if s.cfg.Bucket != "" || s.cfg.Measurement == "" {
		return nil, nil
	}
	return s.fieldTypes(ctx, s.cfg.Measurement)
}

// fits refuses columns for which the server has fields of other types alone.
func fits(s record.Schema, m *mapping, types map[string][]string) error {
	for _, i := range m.tags {
		if f := s.Field(i); len(types[f.Name]) > 0 {
			return fault.New(fault.Permanent, "column %s is to be a tag, and the measurement has a field of that "+
				"name", f.Name)
		}
	}
	for _, i := range m.fields {
		f := s.Field(i)
		have := types[f.Name]
		if want := fieldType(f.Type); len(have) > 0 && !slices.Contains(have, want) {
			return fault.New(fault.Permanent, "column %s (%s) becomes a field of type %s, and the measurement has "+
				"it as %s", f.Name, f.Type, want, strings.Join(have, ", "))
		}
	}
	return nil
}

// kept returns which optional columns go into points: those whose type is that of the server's field. What
// the server has no field for begins one.
func (s *Sink) kept() func(arrow.Field) bool {
	s.mu.Lock()
	types := maps.Clone(s.types)
	s.mu.Unlock()
	return func(f arrow.Field) bool {
		have, typ := types[f.Name], fieldType(f.Type)
		return types != nil && typ != "" && badColumn(f.Name) == "" &&
			(len(have) == 0 || slices.Contains(have, typ))
	}
}

// learn remembers the types of optional columns that were written.
func (s *Sink) learn(schema record.Schema, m *mapping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range m.fields {
		f := schema.Field(i)
		if s.types != nil && record.IsOptional(f) && len(s.types[f.Name]) == 0 {
			s.types = maps.Clone(s.types)
			s.types[f.Name] = []string{fieldType(f.Type)}
		}
	}
}

// Probe writes a line of the delivery that failed last, which will come again as it is; without one a
// request of no lines, which shows that the server lets us write there.
func (s *Sink) Probe(ctx context.Context) error {
	s.mu.Lock()
	line := s.pending
	s.mu.Unlock()
	if err := s.touch(ctx, line); err != nil {
		return s.classify("probe", s.gone(err))
	}
	return nil
}

// gone makes an outage of a database that is gone and that Prepare will make again; without `create` a
// person must.
func (s *Sink) gone(err error) error {
	switch {
	case !fault.Is(err, fault.NotFound):
		return err
	case s.cfg.Create:
		return fault.As(fault.Transient, err)
	}
	return fault.WithHint(fault.As(fault.Permanent, err), "make it, or set create: true")
}

// Close waits for a write that is under way and gives up idle connections.
func (s *Sink) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.Client.Close()
	return nil
}
