package sqlite

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Tables reads the tables of one database file back. Each question opens the file for itself, read-only, and
// closes it again: so the file may come late, go, or be replaced by another, and neither its readers nor its writer
// wait for each other.
type Tables struct {
	path   string // absolute
	busy   time.Duration
	closed atomic.Bool
}

var _ connector.Tables = (*Tables)(nil)

// OpenTables returns a reader of the file that a sink of the same configuration writes to; Path and Busy are
// looked at. It touches nothing.
func OpenTables(cfg Config) (*Tables, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.As(fault.Permanent, errs[0])
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fault.New(fault.Permanent, "find database %s: %w", cfg.Path, err)
	}
	return &Tables{path: path, busy: cfg.WithDefaults().Busy}, nil
}

// Close lets nobody ask any more.
func (t *Tables) Close() error {
	t.closed.Store(true)
	return nil
}

// Rows yields the rows of a table. Bytes are a string in base64.
func (t *Tables) Rows(ctx context.Context, q connector.TableQuery, yield func(values []any) error) error {
	return t.ask(ctx, q, q.Columns, "", func(a *answer) error {
		values := make([]any, len(q.Columns))
		for a.rows.Next() {
			if err := a.scan(values); err != nil {
				return err
			}
			if err := yield(values); err != nil {
				return stop{err}
			}
		}
		return a.rows.Err()
	})
}

// Newest is the time of the newest row.
func (t *Tables) Newest(ctx context.Context, q connector.TableQuery) (at time.Time, ok bool, err error) {
	q.Limit = 1
	err = t.ask(ctx, q, []string{q.Time}, " DESC", func(a *answer) error {
		if !a.rows.Next() {
			return a.rows.Err()
		}
		values := make([]any, 1)
		if err := a.scan(values); err != nil {
			return err
		}
		at, ok = values[0].(time.Time)
		return nil
	})
	return at, ok, err
}

// stop is the error of who was given a row.
type stop struct{ error }

// ask calls f with the answer to a query, if there is a table.
func (t *Tables) ask(ctx context.Context, q connector.TableQuery, columns []string, way string,
	f func(a *answer) error) error {
	if t.closed.Load() {
		return fault.New(fault.Permanent, "read database %s: the reader is closed", t.path)
	}
	err := t.askFile(ctx, q, columns, way, f)
	if s, ok := errors.AsType[stop](err); ok {
		return s.error
	}
	if codeOf(err) == codeError {
		return fault.New(fault.Permanent, "read table %s of %s: %w", q.Table, t.path, err)
	}
	return classify(t.path, "read", err)
}

func (t *Tables) askFile(ctx context.Context, q connector.TableQuery, columns []string, way string,
	f func(a *answer) error) error {
	if missing, err := t.missing(); missing || err != nil {
		return err
	}
	ofdLocks()
	pool, err := sql.Open("sqlite", address(t.path, url.Values{"mode": {"ro"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()), "query_only(1)"}}))
	if err != nil {
		return err
	}
	defer pool.Close()
	var tx *sql.Tx
	var have map[string]column
	// From its first look on a transaction sees one state, and is in nobody's way.
	err = lockedFor(ctx, t.busy, func() (err error) {
		if tx, err = pool.BeginTx(ctx, nil); err != nil {
			return err
		}
		if have, err = readColumns(ctx, tx, q.Table); err != nil {
			_ = tx.Rollback()
		}
		return err
	})
	if err != nil {
		if missing, _ := t.missing(); missing { // since we looked
			return nil
		}
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if len(have) == 0 || strings.ContainsRune(q.Table, 0) { // at a NUL byte SQLite takes a name to end
		return nil
	}
	a := &answer{path: t.path, q: q, have: have}
	text, args, err := a.query(columns, way)
	if err != nil {
		return err
	}
	if a.rows, err = tx.QueryContext(ctx, text, args...); err != nil {
		return err
	}
	defer a.rows.Close()
	return f(a)
}

func (t *Tables) missing() (bool, error) {
	info, err := os.Stat(t.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err == nil && info.IsDir():
		return false, fault.New(fault.Permanent, "read database %s: it is a directory", t.path)
	}
	return false, err
}

// answer is what the database says to one query.
type answer struct {
	path  string
	q     connector.TableQuery
	have  map[string]column // of the table, by lower-case name
	means []meaning         // of the values of a row
	rows  *sql.Rows
}

// column returns how a column of the table is declared.
func (a *answer) column(name string) (string, error) {
	col, ok := a.have[strings.ToLower(name)]
	if !ok {
		return "", a.misfit("it has no column %s", name)
	}
	return col.decl, nil
}

func (a *answer) misfit(format string, args ...any) error {
	return fault.New(fault.Permanent, "read table %s of %s: %s", a.q.Table, a.path, fmt.Sprintf(format, args...))
}

// query is the text and the values of a query for columns; way is that of the order.
func (a *answer) query(columns []string, way string) (string, []any, error) {
	list := make([]string, len(columns), len(columns)+1)
	for i, name := range columns {
		decl, err := a.column(name)
		if err != nil {
			return "", nil, err
		}
		a.means = append(a.means, meaningOf(decl, strings.EqualFold(name, a.q.Time)))
		// The sign makes it an expression: of a column the driver would make what its declaration says.
		list[i] = "+" + quote(name)
	}
	if len(list) == 0 {
		list = append(list, "1") // a row of nothing is a row
	}
	where, args, err := a.where()
	if err != nil {
		return "", nil, err
	}
	text := "SELECT " + strings.Join(list, ", ") + " FROM " + quote(a.q.Table) + " WHERE " + where +
		" ORDER BY " + quote(a.q.Time) + way
	if a.q.Limit > 0 {
		text, args = text+" LIMIT ?", append(args, a.q.Limit)
	}
	return text, args, nil
}

// where is the condition of a query. A row without a time is in no order of times.
func (a *answer) where() (string, []any, error) {
	decl, err := a.column(a.q.Time)
	switch {
	case err != nil:
		return "", nil, err
	case affinity(decl) == "TEXT":
		return "", nil, a.misfit("column %s is declared %q, want integers for times", a.q.Time, decl)
	}
	name, unit := quote(a.q.Time), meaningOf(decl, true).unit
	terms, args := []string{name + " IS NOT NULL"}, []any(nil)
	add := func(term string, arg any) { terms, args = append(terms, term), append(args, arg) }
	if !a.q.From.IsZero() {
		add(name+" >= ?", ceil(a.q.From, unit))
	}
	if !a.q.To.IsZero() {
		add(name+" < ?", ceil(a.q.To, unit))
	}
	for _, name := range slices.Sorted(maps.Keys(a.q.Equal)) {
		if _, err := a.column(name); err != nil {
			return "", nil, err
		}
		add(quote(name)+" = ?", a.q.Equal[name])
	}
	return strings.Join(terms, " AND "), args, nil
}

// ceil is the first number of units that is not before a time.
func ceil(at time.Time, unit arrow.TimeUnit) int64 {
	per := int64(time.Second / unit.Multiplier())
	seconds, rest := at.Unix(), (int64(at.Nanosecond())+int64(unit.Multiplier())-1)/int64(unit.Multiplier())
	switch {
	case seconds > math.MaxInt64/per-1:
		return math.MaxInt64
	case seconds < math.MinInt64/per+1:
		return math.MinInt64
	}
	return seconds*per + rest
}

// scan reads the row that the answer stands at.
func (a *answer) scan(values []any) error {
	into := make([]any, max(1, len(values)))
	for i := range into {
		into[i] = new(any)
		if i < len(values) {
			into[i] = &values[i]
		}
	}
	if err := a.rows.Scan(into...); err != nil {
		return err
	}
	for i, v := range values {
		var ok bool
		if values[i], ok = a.means[i].of(v); !ok {
			return a.misfit("a time is %v, want an integer", v)
		}
	}
	return nil
}

// meaning is what the values of a column stand for.
type meaning struct {
	time, truth bool
	unit        arrow.TimeUnit
}

// meaningOf is the meaning of a column declared as decl; isTime says that it has times in any case, in
// seconds if the declaration does not say otherwise.
func meaningOf(decl string, isTime bool) meaning {
	unit, ok := unitOf(decl)
	return meaning{time: ok || isTime, unit: unit,
		truth: slices.Contains(strings.Fields(strings.ToUpper(decl)), truth)}
}

func (m meaning) of(v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case int64:
		switch {
		case m.time:
			return arrow.Timestamp(v).ToTime(m.unit), true
		case m.truth:
			return v != 0, true
		}
	case []byte:
		return base64.StdEncoding.EncodeToString(v), !m.time
	}
	_, whole := v.(int64)
	return v, whole || !m.time
}
