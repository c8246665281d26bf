package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector/rowkey"
)

// staging is the temporary table that a delivery's rows go into first, and its column with the
// index of a row. It stands first in the search path of its session alone.
const (
	staging  = "holdfast_staging"
	stageRow = "holdfast_row"
)

// table is the prepared table with its statements.
type table struct {
	schema  record.Schema
	key     rowkey.Key
	names   []string // of the staging table's columns, unquoted
	wide    []bool   // columns of the table that are numeric
	stage   string   // makes the staging table
	insert  string
	differs string // the staged rows that are not in the table as they stand; "" without a key
	late    string // takes superseded rows out of the staging table; "" if rows don't replace others
	older   string // deletes those that the staged ones replace
}

// prepare makes the connection ready for rows of the schema.
func (s *Sink) prepare(ctx context.Context, schema record.Schema) error {
	for _, f := range schema.Fields() {
		if created(f.Type) == "" {
			return fault.New(fault.Permanent, "prepare table %s: column %s is %s, "+
				"which this sink can't store", s.target, f.Name, f.Type)
		}
	}
	key, err := s.cfg.rows().Of(schema)
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("prepare table %s: %w", s.target, err))
	}
	var t *table
	err = s.transact(ctx, func() error {
		if err := s.fitDelivered(ctx); err != nil {
			return err
		}
		have, err := s.fit(ctx, schema, key)
		if err == nil {
			t = s.statements(schema, key, have)
		}
		return err
	})
	if err != nil {
		err = s.classify("prepare", err)
		if fault.Is(err, fault.Invalid) { // there is no row yet that could be at fault
			err = fault.As(fault.Transient, err)
		}
		return err
	}
	s.session.table = t
	s.mu.Lock()
	s.table = t
	s.mu.Unlock()
	return nil
}

// fit creates the table if it is missing and returns its columns, which can hold the rows.
func (s *Sink) fit(ctx context.Context, schema record.Schema, key rowkey.Key) (map[string]column, error) {
	oid, kind, err := s.find(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		if !s.cfg.Create {
			return nil, fault.WithHint(fault.New(fault.Permanent,
				"prepare table %s: there is none, and create is false", s.target),
				"create it, or set create: true")
		}
		if _, err := s.session.conn.Exec(ctx, s.createTable(key)); err != nil {
			return nil, err
		}
		oid, kind, err = s.find(ctx)
	}
	switch {
	case err != nil:
		return nil, err
	case kind != "r" && kind != "p":
		return nil, s.misfit("it is no table")
	}
	have, err := s.columns(ctx, oid)
	if err == nil {
		err = s.fitColumns(schema, have)
	}
	if err == nil {
		err = s.fitKey(ctx, key, oid)
	}
	if err == nil {
		err = s.allowed(ctx, oid, key)
	}
	return have, err
}

func (s *Sink) find(ctx context.Context) (oid uint32, kind string, err error) {
	return findTable(ctx, s.session.conn, s.cfg.Schema, s.cfg.Table)
}

func findTable(ctx context.Context, c *pgx.Conn, schema, table string) (oid uint32, kind string, err error) {
	err = c.QueryRow(ctx, `SELECT c.oid, c.relkind::text FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
		schema, table).Scan(&oid, &kind)
	return oid, kind, err
}

func (s *Sink) createTable(key rowkey.Key) string {
	return key.CreateTable(s.target, func(name string) string { return quote(name) }, created)
}

// column is what a table says of one of its columns.
type column struct {
	typ       string
	required  bool // NOT NULL without a default
	generated bool
}

func (s *Sink) columns(ctx context.Context, oid uint32) (map[string]column, error) {
	return readColumns(ctx, s.session.conn, oid)
}

func readColumns(ctx context.Context, c *pgx.Conn, oid uint32) (map[string]column, error) {
	rows, err := c.Query(ctx, `SELECT attname::text, format_type(atttypid, atttypmod),
		attnotnull AND NOT atthasdef AND attidentity = '',
		attidentity = 'a' OR to_jsonb(a)->>'attgenerated' <> ''
		FROM pg_attribute AS a WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`, oid)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]column{}
	for rows.Next() {
		var name string
		var col column
		var generated *bool // NULL before version 12, which has none
		if err := rows.Scan(&name, &col.typ, &col.required, &generated); err != nil {
			return nil, err
		}
		col.generated = generated != nil && *generated
		out[name] = col
	}
	return out, rows.Err()
}

func (s *Sink) fitColumns(schema record.Schema, have map[string]column) error {
	for _, f := range schema.Fields() {
		col, ok := have[f.Name]
		switch {
		case !ok:
			return s.misfit("it has no column %s", f.Name)
		case col.generated:
			return s.misfit("column %s is generated", f.Name)
		case !holds(f.Type, col.typ):
			return s.misfit("column %s is %s, which can't hold %s unchanged", f.Name, col.typ, f.Type)
		}
	}
	for name, col := range have {
		if col.required && len(schema.FieldIndices(name)) == 0 {
			return s.misfit("column %s must not be null, and the rows have no such column", name)
		}
	}
	return nil
}

func (s *Sink) misfit(format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: %s", s.target,
		fmt.Sprintf(format, args...)),
		"change the table, or name another one: with create: true it gets the right columns")
}

// fitKey wants a unique index on exactly the key's columns that ON CONFLICT can rest on: not partial,
// not deferred, and valid.
func (s *Sink) fitKey(ctx context.Context, key rowkey.Key, oid uint32) error {
	if !key.Any() {
		return nil
	}
	names := key.Names()
	unique, err := unique(ctx, s.session.conn, oid, names)
	if err == nil && !unique {
		what := "column " + names[0] + " has no unique index"
		if len(names) > 1 {
			what = "columns " + strings.Join(names, ", ") + " have no unique index together"
		}
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: %s, so a row could be stored twice",
			s.target, what), "CREATE UNIQUE INDEX ON %s (%s);", s.target, listed(names))
	}
	return err
}

// unique reports whether a table has a unique index on exactly these columns.
func unique(ctx context.Context, c *pgx.Conn, oid uint32, names []string) (yes bool, err error) {
	err = c.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_index AS i
		WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
		AND i.indnkeyatts = cardinality($2::text[]) AND i.indnkeyatts = (SELECT count(*) FROM pg_attribute AS a
			WHERE a.attrelid = i.indrelid AND a.attname = ANY ($2::text[])
			AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1])))`, oid, names).Scan(&yes)
	return yes, err
}

// allowed tries what a write needs besides the columns.
func (s *Sink) allowed(ctx context.Context, oid uint32, key rowkey.Key) error {
	var table, replacing, temporary bool
	err := s.session.conn.QueryRow(ctx, `SELECT has_table_privilege($1::oid, 'SELECT') AND
		has_table_privilege($1::oid, 'INSERT'), has_table_privilege($1::oid, 'DELETE'),
		has_database_privilege(current_database(), 'TEMPORARY')`, oid).Scan(&table, &replacing, &temporary)
	user := quote(s.dial.User)
	switch {
	case err != nil:
		return err
	case !table:
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: no permission to read "+
			"and insert rows", s.target), "GRANT SELECT, INSERT ON %s TO %s;", s.target, user)
	case key.Replaces() && !replacing:
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: no permission to delete rows, "+
			"which others are to replace", s.target), "GRANT DELETE ON %s TO %s;", s.target, user)
	case !temporary:
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: no permission for "+
			"temporary tables", s.target), "GRANT TEMPORARY ON DATABASE %s TO %s;",
			quote(s.dial.Database), user)
	}
	return nil
}

// created is the type of a created table's column, "" for what can't be stored.
func created(t arrow.DataType) string {
	switch t.ID() {
	case arrow.BOOL:
		return "boolean"
	case arrow.INT8, arrow.UINT8, arrow.INT16:
		return "smallint"
	case arrow.UINT16, arrow.INT32:
		return "integer"
	case arrow.UINT32, arrow.INT64, arrow.UINT64:
		return "bigint"
	case arrow.FLOAT32:
		return "real"
	case arrow.FLOAT64:
		return "double precision"
	case arrow.TIMESTAMP:
		return "timestamp with time zone"
	case arrow.STRING, arrow.LARGE_STRING:
		return "text"
	case arrow.BINARY, arrow.LARGE_BINARY:
		return "bytea"
	}
	return ""
}

// wider lists, after each type that we create, those that hold the same values and more.
var wider = map[string][]string{
	"smallint":                 {"integer", "bigint"},
	"integer":                  {"bigint"},
	"real":                     {"double precision"},
	"timestamp with time zone": {"timestamp without time zone"},
	"text":                     {"character varying"},
}

// holds reports whether a column of a type keeps values of t as they are. An integer that a column
// of 64 bits can't hold is found row by row.
func holds(t arrow.DataType, typ string) bool {
	want := created(t)
	if typ == want || slices.Contains(wider[want], typ) {
		return true
	}
	return (want == "smallint" || want == "integer" || want == "bigint") && wideNumeric(typ)
}

var numericType = regexp.MustCompile(`^numeric(?:\((\d+),(-?\d+)\))?$`)

// wideNumeric reports whether a type is a numeric with room for twenty digits before the point.
func wideNumeric(typ string) bool {
	m := numericType.FindStringSubmatch(typ)
	if m == nil || m[1] == "" {
		return m != nil
	}
	digits, _ := strconv.Atoi(m[1])
	scale, _ := strconv.Atoi(m[2])
	return scale >= 0 && digits-scale >= 20
}

// statements writes down what a delivery runs.
func (s *Sink) statements(schema record.Schema, key rowkey.Key, have map[string]column) *table {
	n := schema.NumFields()
	t := &table{schema: schema, key: key, names: []string{stageRow}, wide: make([]bool, n)}
	cols, is := make([]string, n), make([]string, n)
	for i, f := range schema.Fields() {
		cols[i] = quote(f.Name)
		t.names = append(t.names, f.Name)
		t.wide[i] = wideNumeric(have[f.Name].typ)
		is[i] = fmt.Sprintf("s.%s IS DISTINCT FROM t.%[1]s", cols[i])
	}
	list := strings.Join(cols, ", ")
	t.stage = fmt.Sprintf("CREATE TEMPORARY TABLE %s ON COMMIT DROP AS SELECT 0::integer AS %s, %s "+
		"FROM %s WITH NO DATA", staging, stageRow, list, s.target)
	t.insert = fmt.Sprintf("INSERT INTO %s (%s) SELECT %[2]s FROM pg_temp.%s ORDER BY %s",
		s.target, list, staging, stageRow)
	if !key.Any() {
		return t
	}
	t.insert += fmt.Sprintf(" ON CONFLICT (%s) DO NOTHING", listed(key.Names()))
	on := make([]string, len(key.Columns))
	for i, c := range key.Columns {
		on[i] = fmt.Sprintf("t.%s = s.%[1]s", cols[c])
	}
	t.differs = fmt.Sprintf("SELECT s.%s, t.%s IS NULL, ARRAY[%s] FROM pg_temp.%s AS s "+
		"LEFT JOIN %s AS t ON %[6]s WHERE t.%[2]s IS NULL OR %[7]s ORDER BY 1",
		stageRow, cols[key.Columns[0]], strings.Join(is, ", "), staging, s.target, strings.Join(on, " AND "),
		strings.Join(is, " OR "))
	if key.Replaces() {
		t.replace(s.target, cols[schema.Time], cols[key.Revision])
	}
	return t
}

// listed makes a list of names in SQL.
func listed(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = quote(name)
	}
	return strings.Join(out, ", ")
}
