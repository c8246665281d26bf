package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/record"
)

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
