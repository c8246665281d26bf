package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector/rowkey"
)

// chunkValues is how many values one INSERT carries, whatever the number of columns: more rows a
// statement than fifty gain nothing.
const chunkValues = 1000

// table is the prepared table of a session, with its statements.
type table struct {
	schema record.Schema
	key    rowkey.Key
	chunk  int // rows of the statement many
	many   driver.Stmt
	one    driver.Stmt
	same   driver.Stmt // asks whether the stored row equals the given one; nil without a key
	newest driver.Stmt // asks for the highest revision of a time; nil if rows don't replace others
	older  driver.Stmt // deletes what has a lower one
}

func (t *table) close() {
	for _, st := range []driver.Stmt{t.many, t.one, t.same, t.newest, t.older} {
		if st != nil {
			_ = st.Close()
		}
	}
}

// prepare makes db ready for rows of the schema.
func (s *Sink) prepare(ctx context.Context, db *session, schema record.Schema) error {
	if db.table != nil && db.table.schema.Equal(schema.Schema) &&
		db.table.schema.Key == schema.Key {
		return s.proveTable(ctx, db)
	}
	for _, f := range schema.Fields() {
		if _, ok := classOf(f.Type); !ok {
			return fault.New(fault.Permanent, "prepare table %s: column %s is %s, "+
				"which this sink can't store", s.cfg.Table, f.Name, f.Type)
		}
	}
	key, err := s.cfg.rows().Of(schema)
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("prepare table %s: %w", s.cfg.Table, err))
	}
	if err := s.fit(ctx, db, schema, key); err != nil {
		return s.permanent("prepare", err)
	}
	t, err := s.statements(db, schema, key)
	if err != nil {
		return s.permanent("prepare statements for", err)
	}
	s.mu.Lock()
	old := db.table
	db.table = t
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	return nil
}

// proveTable checks that a table which was prepared before is still there and can be written.
func (s *Sink) proveTable(ctx context.Context, db *session) error {
	if err := s.fit(ctx, db, db.table.schema, db.table.key); err != nil {
		return s.permanent("prepare", err)
	}
	return nil
}

// permanent classifies an error of preparation: what SQLite calls a plain error is then a mistake
// in a name or a type, and will not go away by itself.
func (s *Sink) permanent(verb string, err error) error {
	if codeOf(err) == codeError {
		return fault.New(fault.Permanent, "%s database %s: %w", verb, s.path, err)
	}
	return s.classify(verb, err)
}

// fit creates what is missing in one transaction, and checks what is there.
func (s *Sink) fit(ctx context.Context, db *session, schema record.Schema, key rowkey.Key) error {
	if err := s.begin(ctx, db); err != nil {
		return err
	}
	err := s.fitIn(ctx, db.w, schema, key)
	if err == nil {
		err = db.commit(ctx)
	}
	if err != nil {
		db.rollback(ctx)
	}
	return err
}

func (s *Sink) fitIn(ctx context.Context, c *sql.Conn, schema record.Schema, key rowkey.Key) error {
	if err := s.fitDelivered(ctx, c); err != nil {
		return err
	}
	var kind string
	var strict bool
	err := c.QueryRowContext(ctx, `SELECT type, strict FROM pragma_table_list(?)
		WHERE schema = 'main'`, s.cfg.Table).Scan(&kind, &strict)
	switch {
	case errors.Is(err, sql.ErrNoRows) && *s.cfg.Create:
		// Not WITHOUT ROWID, also for a key of several columns: rows that come in no order within their time are written at half the
		// speed then.
		_, err := c.ExecContext(ctx, key.CreateTable(quote(s.cfg.Table), quote, declared))
		return err
	case errors.Is(err, sql.ErrNoRows):
		return fault.WithHint(fault.New(fault.Permanent,
			"prepare database %s: there is no table %s, and create is false", s.path, s.cfg.Table),
			"create it, or set create: true")
	case err != nil:
		return err
	case kind != "table":
		return s.misfit("%s is a %s", s.cfg.Table, kind)
	}
	if err := s.fitColumns(ctx, c, schema, strict); err != nil || !key.Any() {
		return err
	}
	return s.fitKey(ctx, c, key.Names())
}

// column is what a table says of one of its columns.
type column struct {
	decl      string
	required  bool // NOT NULL without a default
	generated bool
}

func (s *Sink) fitColumns(ctx context.Context, c *sql.Conn, schema record.Schema,
	strict bool) error {
	have, err := readColumns(ctx, c, s.cfg.Table)
	if err != nil {
		return err
	}
	for _, f := range schema.Fields() {
		name := strings.ToLower(f.Name)
		col, ok := have[name]
		delete(have, name)
		switch {
		case !ok:
			return s.misfit("it has no column %s", f.Name)
		case col.generated:
			return s.misfit("column %s is generated", f.Name)
		case !fits(f.Type, col.decl, strict):
			return s.misfit("column %s is declared %q, which can't hold %s unchanged",
				f.Name, col.decl, f.Type)
		case !counts(f.Type, col.decl):
			return s.misfit("column %s is declared %q, and the rows have it as %s", f.Name, col.decl, f.Type)
		}
	}
	for name, col := range have {
		if col.required {
			return s.misfit("column %s must not be null, and the rows have no such column", name)
		}
	}
	return nil
}

// fitKey wants a unique index on exactly these columns: a primary key, rowid or not, or another. A partial
// index does not count.
func (s *Sink) fitKey(ctx context.Context, c *sql.Conn, names []string) error {
	rows, err := c.QueryContext(ctx, `SELECT '', name FROM pragma_table_info(?1) WHERE pk > 0 UNION ALL
		SELECT 'index ' || i.name, coalesce(c.name, '') FROM pragma_index_list(?1) AS i,
		pragma_index_info(i.name) AS c WHERE i."unique" AND NOT i.partial`, s.cfg.Table)
	if err != nil {
		return err
	}
	defer rows.Close()
	unique := map[string][]string{} // columns by index; an expression has no name
	for rows.Next() {
		var index, name string
		if err := rows.Scan(&index, &name); err != nil {
			return err
		}
		unique[index] = append(unique[index], strings.ToLower(name))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	want := make([]string, len(names))
	for i, name := range names {
		want[i] = strings.ToLower(name)
	}
	slices.Sort(want)
	for _, have := range unique {
		if slices.Sort(have); slices.Equal(have, want) {
			return nil
		}
	}
	what := "column " + names[0] + " has no unique index"
	if len(names) > 1 {
		what = "columns " + strings.Join(names, ", ") + " have no unique index together"
	}
	return fault.WithHint(s.misfit("%s, so a row could be stored twice", what),
		"CREATE UNIQUE INDEX %s ON %s (%s);", quote(s.cfg.Table+"_key"), quote(s.cfg.Table), quoted(names, ", "))
}

func (s *Sink) misfit(format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, "prepare table %s of %s: %s",
		s.cfg.Table, s.path, fmt.Sprintf(format, args...)),
		"change the table, or name another one: it is created with the right columns")
}

// queryer is a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readTable returns the columns of the table, and whether it is strict.
func (s *Sink) readTable(ctx context.Context, c *sql.Conn) (have map[string]column, strict bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT strict FROM pragma_table_list(?) WHERE schema = 'main'`,
		s.cfg.Table).Scan(&strict)
	if err != nil {
		return nil, false, err
	}
	have, err = readColumns(ctx, c, s.cfg.Table)
	return have, strict, err
}

// readColumns returns the columns of a table by lower-case name, as SQLite compares them.
func readColumns(ctx context.Context, c queryer, table string) (map[string]column, error) {
	rows, err := c.QueryContext(ctx, `SELECT name, type, "notnull" AND dflt_value IS NULL, hidden
		FROM pragma_table_xinfo(?)`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]column{}
	for rows.Next() {
		var name string
		var col column
		var hidden int
		if err := rows.Scan(&name, &col.decl, &col.required, &hidden); err != nil {
			return nil, err
		}
		col.generated = hidden != 0
		out[strings.ToLower(name)] = col
	}
	return out, rows.Err()
}

// storage is how SQLite stores a value.
type storage string

const (
	integer storage = "INTEGER"
	float   storage = "REAL"
	text    storage = "TEXT"
	blob    storage = "BLOB"
)

// classOf returns how values of an Arrow type are stored; ok is false for types that are not.
func classOf(t arrow.DataType) (storage, bool) {
	switch t.ID() {
	case arrow.BOOL, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16,
		arrow.UINT32, arrow.UINT64, arrow.TIMESTAMP:
		return integer, true
	case arrow.FLOAT32, arrow.FLOAT64:
		return float, true
	case arrow.STRING, arrow.LARGE_STRING:
		return text, true
	case arrow.BINARY, arrow.LARGE_BINARY:
		return blob, true
	}
	return "", false
}

// units are the words by which a column says what its integers count; "" in a column that does not say.
var units = map[arrow.TimeUnit]string{arrow.Second: "SECONDS", arrow.Millisecond: "MILLISECONDS",
	arrow.Microsecond: "MICROSECONDS", arrow.Nanosecond: "NANOSECONDS"}

// truth is such a word for what is true or false.
const truth = "BOOLEAN"

// declared is the type of a created column. SQLite looks at its first word alone; whoever reads the table
// finds in the second what an integer stands for.
func declared(t arrow.DataType) string {
	class, _ := classOf(t)
	switch t := t.(type) {
	case *arrow.TimestampType:
		return string(class) + " " + units[t.Unit]
	case *arrow.BooleanType:
		return string(class) + " " + truth
	}
	return string(class)
}

// unitOf is the unit of a column declared as decl, if it says one.
func unitOf(decl string) (arrow.TimeUnit, bool) {
	words := strings.Fields(strings.ToUpper(decl))
	for unit, word := range units {
		if slices.Contains(words, word) {
			return unit, true
		}
	}
	return arrow.Second, false
}

// counts reports whether a column declared as decl says nothing of units, or says that of the type.
func counts(t arrow.DataType, decl string) bool {
	unit, ok := unitOf(decl)
	ts, isTime := t.(*arrow.TimestampType)
	return !ok || isTime && ts.Unit == unit
}

// fits reports whether a column declared as decl keeps values of the type as they are. The rules
// are SQLite's: the declared type gives an affinity, and the affinity may change a value.
func fits(t arrow.DataType, decl string, strict bool) bool {
	class, _ := classOf(t)
	has := affinity(decl)
	if strict {
		return decl == "ANY" || storage(has) == class || class == integer && small(t) && has == "REAL"
	}
	switch class {
	case integer:
		return has == "INTEGER" || has == "NUMERIC" || has == "BLOB" || has == "REAL" && small(t)
	case float:
		return has != "TEXT"
	case text:
		return has == "TEXT" || has == "BLOB"
	}
	return true // no affinity changes bytes
}

// small reports whether a REAL holds every value of the type exactly.
func small(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT64, arrow.UINT64, arrow.TIMESTAMP:
		return false
	}
	return true
}

// affinity follows section 3.1 of SQLite's description of data types.
func affinity(decl string) string {
	decl = strings.ToUpper(decl)
	holds := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(decl, w) {
				return true
			}
		}
		return false
	}
	switch {
	case holds("INT"):
		return "INTEGER"
	case holds("CHAR", "CLOB", "TEXT"):
		return "TEXT"
	case decl == "" || holds("BLOB"):
		return "BLOB"
	case holds("REAL", "FLOA", "DOUB"):
		return "REAL"
	}
	return "NUMERIC"
}

// statements prepares what a write needs.
func (s *Sink) statements(db *session, schema record.Schema, key rowkey.Key) (*table, error) {
	n := schema.NumFields()
	t := &table{schema: schema, key: key, chunk: max(1, chunkValues/n)}
	names, is := make([]string, n), make([]string, n)
	for i, f := range schema.Fields() {
		names[i] = f.Name
		is[i] = fmt.Sprintf("%s IS ?%d", quote(f.Name), i+1)
	}
	target, conflict := quote(s.cfg.Table), ""
	if key.Any() {
		conflict = " ON CONFLICT (" + quoted(key.Names(), ",") + ") DO NOTHING"
	}
	values := "(" + strings.Repeat("?,", n-1) + "?)"
	insert := func(rows int) string {
		return "INSERT INTO " + target + " (" + quoted(names, ",") + ") VALUES " +
			strings.Repeat(values+",", rows-1) + values + conflict
	}
	queries := map[*driver.Stmt]string{&t.many: insert(t.chunk), &t.one: insert(1)}
	if key.Any() {
		where := make([]string, len(key.Columns))
		for i, c := range key.Columns {
			where[i] = fmt.Sprintf("%s = ?%d", quote(names[c]), c+1)
		}
		queries[&t.same] = fmt.Sprintf("SELECT %s FROM %s WHERE %s", strings.Join(is, ","), target,
			strings.Join(where, " AND "))
	}
	if key.Replaces() {
		revision, at := quote(names[key.Revision]), quote(names[schema.Time])
		queries[&t.newest] = fmt.Sprintf("SELECT max(%s) FROM %s WHERE %s = ?", revision, target, at)
		queries[&t.older] = fmt.Sprintf("DELETE FROM %s WHERE %s = ? AND %s < ?", target, at, revision)
	}
	for st, query := range queries {
		var err error
		if *st, err = db.prepareRaw(query); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// quote makes any text a name in SQL.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoted makes a list of names.
func quoted(names []string, sep string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = quote(name)
	}
	return strings.Join(out, sep)
}
