package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/time/rate"

	"holdfast/base/disk"
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
	cfg = cfg.withDefaults()
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
	r := newRows(s.now, s.now.schema)
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

// ownColumns asks which columns there are.
func (s *Source) ownColumns(ctx context.Context) ([]sourceColumn, error) {
	list := "*"
	if len(s.cfg.Columns) > 0 {
		quoted := make([]string, len(s.cfg.Columns))
		for i, n := range s.cfg.Columns {
			quoted[i] = name(n)
		}
		list = strings.Join(quoted, ", ")
	}
	ans, err := s.question(ctx, "SELECT "+list+" FROM "+s.cfg.from()+
		" LIMIT 0 FORMAT TabSeparatedWithNamesAndTypes")
	if err != nil {
		return nil, err
	}
	defer ans.close()
	text, err := io.ReadAll(io.LimitReader(ans.body, maxAnswer))
	if err == nil {
		err = judge(ans.Response, string(text))
	}
	if err != nil {
		return nil, err
	}
	names, types, _ := strings.Cut(string(text), "\n")
	types, ok := strings.CutSuffix(types, "\n")
	if !ok { // half a type would be another one
		return nil, garbage("want names and types of columns, got %s", excerpt(string(text)))
	}
	return columnsOf(names, types)
}

// complete refuses a server that leaves rows out of an answer, in silence, when it meets one of its limits:
// it does so before it sorts, so what is missing is anywhere. A user who may not see the settings has to
// be believed.
func (s *Source) complete(ctx context.Context) error {
	if s.whole {
		return nil
	}
	ans, err := s.question(ctx, "SELECT name FROM system.settings WHERE name LIKE '%overflow_mode%' AND "+
		"value = 'break' AND name NOT LIKE 'distinct%' FORMAT TabSeparated")
	if k := fault.KindOf(err); k == fault.Credentials || k == fault.Permanent {
		s.whole = true
		return nil
	}
	if err != nil {
		return err
	}
	defer ans.close()
	text, err := io.ReadAll(io.LimitReader(ans.body, maxAnswer))
	if err == nil {
		err = judge(ans.Response, string(text))
	}
	if err != nil {
		return err
	}
	if list := strings.Fields(string(text)); len(list) > 0 {
		return fault.WithHint(fault.New(fault.Permanent, "the server leaves rows out in silence when it meets a limit: "+
			"%s is break", strings.Join(list, ", ")), "set it to throw for this user")
	}
	s.whole = true
	return nil
}

// columnsOf reads the two lines of TabSeparatedWithNamesAndTypes.
func columnsOf(names, types string) ([]sourceColumn, error) {
	list := strings.Split(names, "\t")
	if strings.Count(types, "\t") != len(list)-1 || strings.Contains(types, "\n") {
		return nil, garbage("want names and types of columns, got %s", excerpt(names+" "+types))
	}
	var out []sourceColumn
	for i, typ := range strings.Split(types, "\t") {
		c, err := columnOf(unescape(list[i]), unescape(typ))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// memo is what the file of columns holds.
type memo struct {
	Of      string         `json:"of"`
	Columns []sourceColumn `json:"columns"`
}

// identity names what the columns are of.
func (s *Source) identity() string {
	return strings.Join([]string{s.cfg.URL, s.cfg.from(), strings.Join(s.cfg.Columns, ",")}, " ")
}

// remembered are the columns of the last time, nil if they are not known. The file is a convenience:
// whatever is wrong with it, the server is asked instead.
func (s *Source) remembered() (cols []sourceColumn) {
	b, err := os.ReadFile(s.opts.Memory)
	var m memo
	if s.opts.Memory == "" || err != nil || json.Unmarshal(b, &m) != nil || m.Of != s.identity() {
		return nil
	}
	for _, c := range m.Columns {
		if c, err = columnOf(c.Name, c.Type); err != nil {
			return nil
		}
		cols = append(cols, c)
	}
	return cols
}

// remember keeps columns for the next life, where they are others than those that are kept. What can't be
// kept is asked for again.
func (s *Source) remember(cols []sourceColumn) {
	same := slices.EqualFunc(cols, s.remembered(), func(a, b sourceColumn) bool {
		return a.Name == b.Name && a.Type == b.Type
	})
	if s.opts.Memory == "" || same {
		return
	}
	if b, err := json.MarshalIndent(memo{s.identity(), cols}, "", "  "); err == nil {
		_ = disk.WriteFile(s.opts.Memory, append(b, '\n'), 0o600)
	}
}

// description is how a table is read with the columns that it has now.
type description struct {
	columns []sourceColumn // as the server has them: they are asked for
	reading []sourceColumn // the same, as what they are to become
	schema  record.Schema
	cursor  *sourceColumn
	key     *sourceColumn

	cursorAt, keyAt int
	overlap         int64
	from            string
}

// describe puts columns in the order of the source's schema, behind them those that are new. One that is
// of another type now is read as what it was.
func (s *Source) describe(cols []sourceColumn) (*description, error) {
	find := func(in []sourceColumn, name string) int {
		return slices.IndexFunc(in, func(c sourceColumn) bool { return c.Name == name })
	}
	d := &description{}
	var fields []arrow.Field
	for _, c := range s.columns {
		i := find(cols, c.Name)
		if i < 0 {
			return nil, fault.WithHint(fault.New(fault.Permanent, "column %s is not there any more", c.Name),
				"put it back, or restart the job to go on without it")
		}
		if c.Name == s.cfg.Key {
			c.asKey()
		}
		d.columns, d.reading = append(d.columns, cols[i]), append(d.reading, c)
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.arrow, Nullable: c.of.nullable})
	}
	for _, c := range cols {
		if find(s.columns, c.Name) < 0 {
			d.columns, d.reading = append(d.columns, c), append(d.reading, c)
			fields = append(fields, record.Optional(arrow.Field{Name: c.Name, Type: c.arrow}))
		}
	}
	d.keyAt, d.cursorAt = find(d.columns, s.cfg.Key), find(d.columns, s.cfg.Cursor)
	if err := s.check(d, find(d.columns, s.cfg.Time)); err != nil {
		return nil, fault.New(fault.Permanent, "%w", err)
	}
	if d.schema = s.schema; len(d.columns) > len(s.columns) || s.schema.Schema == nil {
		d.schema = record.NewSchema(fields, s.cfg.Key, s.cfg.Time)
	}
	return d, nil
}

// check says what the columns make impossible, and takes over what depends on them.
func (s *Source) check(d *description, timeAt int) (err error) {
	names := make([]string, len(d.columns))
	for i, c := range d.columns {
		names[i] = c.Name
	}
	for what, n := range map[string]string{"key": s.cfg.Key, "cursor": s.cfg.Cursor, "time": s.cfg.Time} {
		if n != "" && !slices.Contains(names, n) {
			return fmt.Errorf("%s: there is no column %q, only: %s", what, n, strings.Join(names, ", "))
		}
	}
	d.key, d.cursor = &d.columns[d.keyAt], &d.columns[d.cursorAt]
	switch {
	case !d.key.keyable():
		return fmt.Errorf("key: column %s is %s, want an integer, String or UUID that is never NULL", d.key.Name,
			d.key.Type)
	case !d.cursor.orderable():
		return fmt.Errorf("cursor: column %s is %s, want an integer, a time or String that is never NULL",
			d.cursor.Name, d.cursor.Type)
	case timeAt >= 0 && (!d.columns[timeAt].timed() || d.columns[timeAt].of.nullable):
		return fmt.Errorf("time: column %s is %s, want a time that is never NULL", s.cfg.Time,
			d.columns[timeAt].Type)
	case s.schema.Schema != nil && d.cursor.unit() != s.unit:
		return fmt.Errorf("cursor: column %s is %s now, and the values that are known count something else",
			d.cursor.Name, d.cursor.Type)
	case s.cfg.Settle > 0 && !d.cursor.timed():
		return fmt.Errorf("settle: column %s, the cursor, is %s and no time", d.cursor.Name, d.cursor.Type)
	case d.cursor.timed() && s.cfg.Settle == 0 && s.cfg.Overlap == "":
		return fmt.Errorf("overlap: is missing: a row that arrives with a time that was read already would "+
			"never be seen; say overlap or settle, or 0s if every row of column %s comes in its order",
			d.cursor.Name)
	}
	if d.overlap, err = d.cursor.overlap(s.cfg.Overlap); err != nil {
		return err
	}
	if s.cfg.From != "" {
		d.from, err = d.cursor.first(s.cfg.From)
	}
	return err
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
	r := newRows(d, d.schema)
	if err := r.add([]byte(strings.Join(append(line, rowEnd), "\t"))); err != nil {
		return connector.Page{}, err
	}
	return connector.Page{Rows: r.batch(), Rejected: r.rejected}, nil
}
