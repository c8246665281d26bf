package clickhouse

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// SourceOptions tunes what no configuration file says.
type SourceOptions struct {
	// Memory is a file for the table's columns, so that a job can start while the server is away; ""
	// for none.
	Memory string
}

// Source is a table, or a query, whose rows are followed.
type Source struct {
	cfg      SourceConfig
	opts     SourceOptions
	client   *client
	limit    *rate.Limiter
	columns  []sourceColumn // as they were when the source was opened
	schema   record.Schema
	unit     string       // of the cursor
	now      *description // of the scan under way, nil before the first page
	readonly bool         // the server lets us set nothing
	whole    bool         // the server is known not to leave rows out in silence
}

var _ connector.Source = (*Source)(nil)

// firstLook bounds how long the first start of a job, and with it a stop, waits for the table's columns.
const firstLook = 10 * time.Second

// OpenSource returns the source. The first time it asks the server for the table's columns; later
// Options.Memory knows them.
func OpenSource(cfg SourceConfig, opts SourceOptions) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open clickhouse source: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	c, err := cfg.client()
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, opts: opts, client: c, limit: download.NewLimit(cfg.MaxBytesPerSecond)}
	if s.columns = s.remembered(); s.columns == nil {
		ctx, cancel := context.WithTimeout(context.Background(), firstLook)
		defer cancel()
		if s.columns, err = s.ownColumns(ctx); err == nil {
			s.remember(s.columns)
		}
	}
	var d *description
	if err == nil {
		d, err = s.describe(s.columns)
	}
	if err != nil {
		c.closeIdle()
		return nil, s.told(err)
	}
	s.schema, s.unit = d.schema, d.cursor.unit()
	return s, nil
}

// Traits: a table waits for us.
func (s *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema is that of the table's columns when the source was opened.
func (s *Source) Schema() record.Schema { return s.schema }

// Start returns the cursor behind highest where the key is the cursor. Else it is the beginning: the key
// sorts out what is known.
func (s *Source) Start(highest uint64) []byte {
	p := s.beginning()
	if highest > 0 && s.cfg.Cursor == s.cfg.Key && !s.schema.TextKeyed() {
		p.At = strconv.FormatUint(highest, 10)
		p.High = p.At
	}
	return p.bytes()
}

// NextPoll returns when the table is to be polled again after a poll that began at last.
func (s *Source) NextPoll(last time.Time) time.Time { return last.Add(s.cfg.Every) }

// Close gives up idle connections.
func (s *Source) Close() error {
	s.client.closeIdle()
	return nil
}

// Fetch asks for the rows behind the cursor.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if r.Fill != nil {
		return connector.Page{}, fault.New(fault.Permanent, "fill %d to %d: a table is followed by its "+
			"cursor alone", r.Fill.From, r.Fill.To)
	}
	at, err := s.positionOf(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	p, err := s.page(ctx, at)
	if err != nil || !p.More {
		s.now = nil // the columns may be others by the next poll
	}
	if err != nil {
		return connector.Page{}, s.told(err)
	}
	return p, nil
}

func (s *Source) page(ctx context.Context, at position) (connector.Page, error) {
	if s.now == nil {
		err := s.complete(ctx)
		if err != nil {
			return connector.Page{}, err
		}
		cols, err := s.ownColumns(ctx)
		if err == nil {
			s.remember(cols)
			s.now, err = s.describe(cols)
		}
		if err != nil {
			return connector.Page{}, err
		}
	}
	ans, err := s.question(ctx, s.selection(s.now, at))
	if err != nil {
		return connector.Page{}, err
	}
	defer ans.close()
	r := newRows(s.now)
	cut, err := r.read(ans)
	if err != nil {
		return connector.Page{}, err
	}
	more := cut || r.n >= s.cfg.Page
	return connector.Page{Rows: r.batch(), Rejected: r.rejected, More: more,
		Cursor: s.now.after(at, r.last, more).bytes(), Notes: map[string]int64{"bytes": ans.body.N}}, nil
}

// question is ask, with a limit on the server's own work where the server lets us set one.
func (s *Source) question(ctx context.Context, sql string) (*reply, error) {
	ans, err := s.ask(ctx, sql)
	if c := code(err); !s.readonly && (c == codeReadonly || c == codeConstraint) {
		s.readonly = true
		ans, err = s.ask(ctx, sql)
	}
	return ans, err
}

const (
	codeReadonly   = 164
	codeConstraint = 452
)

// told gives an error the place that it speaks of, and a hint where a person must act.
func (s *Source) told(err error) error {
	hint := ""
	switch k, c := fault.KindOf(err), code(err); {
	case fault.HintOf(err) != "":
	case k == fault.Credentials:
		hint = "check username and password, and that the user may SELECT"
	case c == 158 || c == 159 || c == 160 || c == 241 || c == 307:
		hint = "the server's limits are too narrow for such a page: make page smaller, follow the table by a " +
			"column that it is sorted by, or read it from a later value on (from)"
	case k == fault.Permanent || k == fault.Unknown && c != 0:
		hint = "check database, table or query, and columns"
	}
	kind := fault.KindOf(err)
	if kind == fault.Unknown && code(err) != 0 {
		kind = fault.Permanent
	}
	out := error(fault.New(kind, "%s: %w", s.cfg.what(), err))
	if wait := fault.WaitOf(err); wait > 0 {
		out = fault.WithWait(out, wait)
	}
	if hint == "" {
		hint = fault.HintOf(err)
	}
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// Parse reads the raw form of a rejected row again.
func (s *Source) Parse(raw []byte) connector.Page {
	p, err := s.parse(raw)
	if err != nil {
		return connector.Page{Rejected: []connector.Reject{{Raw: raw, Reason: "it is no whole row of this " +
			"table: " + err.Error()}}}
	}
	return p
}

func (s *Source) parse(raw []byte) (connector.Page, error) {
	lines := strings.SplitN(string(raw), "\n", 3)
	if len(lines) != 3 {
		return connector.Page{}, errors.New("it has no lines of names, types and values")
	}
	cols, err := columnsOf(lines[0], lines[1])
	if err != nil {
		return connector.Page{}, err
	}
	d, err := s.describe(cols)
	if err != nil {
		return connector.Page{}, err
	}
	// Its columns stand in the order that they had then.
	values := strings.Split(lines[2], "\t")
	if len(values) != len(cols) {
		return connector.Page{}, errNoRow
	}
	line := []string{rowBegin}
	for _, c := range d.columns {
		line = append(line, values[slices.IndexFunc(cols, func(k sourceColumn) bool { return k.Name == c.Name })])
	}
	r := newRows(d)
	if err := r.add([]byte(strings.Join(append(line, rowEnd), "\t"))); err != nil {
		return connector.Page{}, err
	}
	return connector.Page{Rows: r.batch(), Rejected: r.rejected}, nil
}
