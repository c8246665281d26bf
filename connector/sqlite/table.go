package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// chunkValues is how many values one INSERT carries, whatever the number of columns: more rows a
// statement than fifty gain nothing.
const chunkValues = 1000

// table is the prepared table of a session, with its statements.
type table struct {
	schema record.Schema
	key    string // quoted name of the key column, "" if rows have none
	chunk  int    // rows of the statement many
	many   driver.Stmt
	one    driver.Stmt
	same   driver.Stmt // asks whether the stored row equals the given one; nil without a key
}

func (t *table) close() {
	for _, st := range []driver.Stmt{t.many, t.one, t.same} {
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
	if err := s.fit(ctx, db, schema); err != nil {
		return s.permanent("prepare", err)
	}
	t, err := s.statements(db, schema)
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
	if err := s.fit(ctx, db, db.table.schema); err != nil {
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
func (s *Sink) fit(ctx context.Context, db *session, schema record.Schema) error {
	if err := s.begin(ctx, db); err != nil {
		return err
	}
	err := s.fitIn(ctx, db.w, schema)
	if err == nil {
		err = db.commit(ctx)
	}
	if err != nil {
		db.rollback(ctx)
	}
	return err
}

func (s *Sink) fitIn(ctx context.Context, c *sql.Conn, schema record.Schema) error {
	if err := s.fitDelivered(ctx, c); err != nil {
		return err
	}
	var kind string
	var strict bool
	err := c.QueryRowContext(ctx, `SELECT type, strict FROM pragma_table_list(?)
		WHERE schema = 'main'`, s.cfg.Table).Scan(&kind, &strict)
	switch {
	case errors.Is(err, sql.ErrNoRows) && *s.cfg.Create:
		_, err := c.ExecContext(ctx, createTable(s.cfg.Table, schema))
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
	return s.fitColumns(ctx, c, schema, strict)
}

func createTable(name string, schema record.Schema) string {
	cols := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		class, _ := classOf(f.Type)
		cols[i] = "  " + quote(f.Name) + " " + string(class)
		if !f.Nullable || i == schema.Key {
			cols[i] += " NOT NULL"
		}
		if i == schema.Key {
			cols[i] += " PRIMARY KEY"
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (\n%s\n)", quote(name), strings.Join(cols, ",\n"))
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
		}
	}
	for name, col := range have {
		if col.required {
			return s.misfit("column %s must not be null, and the rows have no such column", name)
		}
	}
	if schema.Key < 0 {
		return nil
	}
	key := schema.Field(schema.Key).Name
	unique, err := isUnique(ctx, c, s.cfg.Table, key)
	if err == nil && !unique {
		return s.misfit("column %s has no unique index, so a row could be stored twice", key)
	}
	return err
}

func (s *Sink) misfit(format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, "prepare table %s of %s: %s",
		s.cfg.Table, s.path, fmt.Sprintf(format, args...)),
		"change the table, or name another one: it is created with the right columns")
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
func readColumns(ctx context.Context, c *sql.Conn, table string) (map[string]column, error) {
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

// isUnique reports whether the table has a unique index on exactly the key column: a primary key,
// rowid or not, or another. A partial index does not count.
func isUnique(ctx context.Context, c *sql.Conn, table, key string) (bool, error) {
	var pk, index bool
	err := c.QueryRowContext(ctx, `SELECT
		(SELECT group_concat(name) = ?2 COLLATE NOCASE FROM pragma_table_info(?1) WHERE pk > 0)
			IS TRUE,
		EXISTS (SELECT 1 FROM pragma_index_list(?1) AS i WHERE i."unique" AND NOT i.partial
			AND (SELECT group_concat(name) = ?2 COLLATE NOCASE FROM pragma_index_info(i.name)))`,
		table, key).Scan(&pk, &index)
	return pk || index, err
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
func (s *Sink) statements(db *session, schema record.Schema) (*table, error) {
	n := schema.NumFields()
	t := &table{schema: schema, chunk: max(1, chunkValues/n)}
	names := make([]string, n)
	for i, f := range schema.Fields() {
		names[i] = quote(f.Name)
	}
	conflict := ""
	if schema.Key >= 0 {
		t.key = names[schema.Key]
		conflict = " ON CONFLICT (" + t.key + ") DO NOTHING"
	}
	values := "(" + strings.Repeat("?,", n-1) + "?)"
	insert := func(rows int) string {
		return "INSERT INTO " + quote(s.cfg.Table) + " (" + strings.Join(names, ",") + ") VALUES " +
			strings.Repeat(values+",", rows-1) + values + conflict
	}
	var err error
	if t.many, err = db.prepareRaw(insert(t.chunk)); err == nil {
		t.one, err = db.prepareRaw(insert(1))
	}
	if err == nil && t.key != "" {
		is := make([]string, n)
		for i, name := range names {
			is[i] = fmt.Sprintf("%s IS ?%d", name, i+1)
		}
		t.same, err = db.prepareRaw(fmt.Sprintf("SELECT %s FROM %s WHERE %s = ?%d",
			strings.Join(is, ","), quote(s.cfg.Table), t.key, schema.Key+1))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// quote makes any text a name in SQL.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
