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
	key     string   // quoted name of the key column, "" if rows have none
	names   []string // of the staging table's columns, unquoted
	wide    []bool   // columns of the table that are numeric
	stage   string   // makes the staging table
	insert  string
	differs string // the staged rows that are not in the table as they stand; "" without a key
}

// prepare makes the connection ready for rows of the schema.
func (s *Sink) prepare(ctx context.Context, schema record.Schema) error {
	for _, f := range schema.Fields() {
		if created(f.Type) == "" {
			return fault.New(fault.Permanent, "prepare table %s: column %s is %s, "+
				"which this sink can't store", s.target, f.Name, f.Type)
		}
	}
	var t *table
	err := s.transact(ctx, func() error {
		if err := s.fitDelivered(ctx); err != nil {
			return err
		}
		have, err := s.fit(ctx, schema)
		if err == nil {
			t = s.statements(schema, have)
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
func (s *Sink) fit(ctx context.Context, schema record.Schema) (map[string]column, error) {
	oid, kind, err := s.find(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		if !s.cfg.Create {
			return nil, fault.WithHint(fault.New(fault.Permanent,
				"prepare table %s: there is none, and create is false", s.target),
				"create it, or set create: true")
		}
		if _, err := s.session.conn.Exec(ctx, s.createTable(schema)); err != nil {
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
		err = s.fitKey(ctx, schema, oid)
	}
	if err == nil {
		err = s.allowed(ctx, oid)
	}
	return have, err
}

func (s *Sink) find(ctx context.Context) (oid uint32, kind string, err error) {
	err = s.session.conn.QueryRow(ctx, `SELECT c.oid, c.relkind::text FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
		s.cfg.Schema, s.cfg.Table).Scan(&oid, &kind)
	return oid, kind, err
}

func (s *Sink) createTable(schema record.Schema) string {
	cols := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		cols[i] = "  " + quote(f.Name) + " " + created(f.Type)
		if !f.Nullable || i == schema.Key {
			cols[i] += " NOT NULL"
		}
		if i == schema.Key {
			cols[i] += " PRIMARY KEY"
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (\n%s\n)", s.target, strings.Join(cols, ",\n"))
}

// column is what a table says of one of its columns.
type column struct {
	typ       string
	required  bool // NOT NULL without a default
	generated bool
}

func (s *Sink) columns(ctx context.Context, oid uint32) (map[string]column, error) {
	rows, err := s.session.conn.Query(ctx, `SELECT attname::text, format_type(atttypid, atttypmod),
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

// fitKey wants a unique index on exactly the key column that ON CONFLICT can rest on: not partial,
// not deferred, and valid.
func (s *Sink) fitKey(ctx context.Context, schema record.Schema, oid uint32) error {
	if schema.Key < 0 {
		return nil
	}
	key := schema.Field(schema.Key).Name
	var unique bool
	err := s.session.conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_index AS i
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = $1 AND a.attname = $2 AND i.indnkeyatts = 1 AND i.indisunique AND
		i.indisvalid AND i.indimmediate AND i.indpred IS NULL)`, oid, key).Scan(&unique)
	if err == nil && !unique {
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: column %s has no unique "+
			"index, so a row could be stored twice", s.target, key),
			"CREATE UNIQUE INDEX ON %s (%s);", s.target, quote(key))
	}
	return err
}

// allowed tries what a write needs besides the columns.
func (s *Sink) allowed(ctx context.Context, oid uint32) error {
	var table, temporary bool
	err := s.session.conn.QueryRow(ctx, `SELECT has_table_privilege($1::oid, 'SELECT') AND
		has_table_privilege($1::oid, 'INSERT'), has_database_privilege(current_database(), 'TEMPORARY')`,
		oid).Scan(&table, &temporary)
	user := quote(s.dial.User)
	switch {
	case err != nil:
		return err
	case !table:
		return fault.WithHint(fault.New(fault.Permanent, "prepare table %s: no permission to read "+
			"and insert rows", s.target), "GRANT SELECT, INSERT ON %s TO %s;", s.target, user)
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
func (s *Sink) statements(schema record.Schema, have map[string]column) *table {
	n := schema.NumFields()
	t := &table{schema: schema, names: []string{stageRow}, wide: make([]bool, n)}
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
	if schema.Key < 0 {
		return t
	}
	t.key = cols[schema.Key]
	t.insert += fmt.Sprintf(" ON CONFLICT (%s) DO NOTHING", t.key)
	t.differs = fmt.Sprintf("SELECT s.%s, t.%s IS NULL, ARRAY[%s] FROM pg_temp.%s AS s "+
		"LEFT JOIN %s AS t ON t.%[2]s = s.%[2]s WHERE t.%[2]s IS NULL OR %[6]s ORDER BY 1",
		stageRow, t.key, strings.Join(is, ", "), staging, s.target, strings.Join(is, " OR "))
	return t
}
