package postgres

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"holdfast/base/fault"
	"holdfast/connector"
)

// spare is how many connections of a reader wait for the next question. Any number are in use at once.
const spare = 2

// Tables reads the tables of one schema of a database back.
type Tables struct {
	cfg Config
	pool
}

var _ connector.Tables = (*Tables)(nil)

// OpenTables returns a reader of the database that a sink of the same configuration writes to; the
// time-out is its, too: for one question, and for the silence between two rows. It connects with the
// first question.
func OpenTables(cfg Config) (*Tables, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "postgres: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	dial, err := cfg.dial()
	if err != nil {
		return nil, err
	}
	return &Tables{cfg, pool{dial: dial, spare: spare, what: "read schema " + quote(cfg.Schema)}}, nil
}

// Close closes the connections that wait; those in use are closed after their question.
func (t *Tables) Close() error {
	t.close()
	return nil
}

// Rows yields the rows of a table. Bytes are a string in base64; what is neither a truth value, a
// number, a text nor a time is a string, as the server writes it.
func (t *Tables) Rows(ctx context.Context, q connector.TableQuery, yield func(values []any) error) error {
	return t.ask(ctx, q, q.Columns, "", yield)
}

// Newest is the time of the newest row.
func (t *Tables) Newest(ctx context.Context, q connector.TableQuery) (at time.Time, ok bool, err error) {
	q.Limit = 1
	err = t.ask(ctx, q, []string{q.Time}, " DESC", func(values []any) error {
		at, ok = values[0].(time.Time)
		return nil
	})
	return at, ok, err
}

// ask calls yield with the rows of an answer; way is that of their order.
func (t *Tables) ask(ctx context.Context, q connector.TableQuery, columns []string, way string,
	yield func(values []any) error) error {
	target := quote(t.cfg.Schema, q.Table)
	if !holdable(q.Table) { // no name can be that
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var silent atomic.Bool
	silence := time.AfterFunc(t.cfg.Timeout, func() { silent.Store(true); cancel() })
	defer silence.Stop()
	conn, err := t.take(ctx)
	if err == nil {
		defer t.give(ctx, conn)
		var stopped error
		a := &answer{conn: conn, schema: t.cfg.Schema, q: q, target: target}
		err = a.rows(ctx, columns, way, func(values []any) error {
			silence.Stop()
			if stopped = yield(values); stopped != nil {
				cancel() // else the rest of the answer would be read
				return stopped
			}
			silence.Reset(t.cfg.Timeout)
			return nil
		})
		if stopped != nil {
			return stopped
		}
	}
	switch {
	case err == nil || notThere(err):
		return nil
	case silent.Load():
		return fault.New(fault.Transient, "read table %s: the server said nothing for %v", target, t.cfg.Timeout)
	}
	return classify(target, "read", err)
}

// notThere reports whether an error says that there is no database or no table.
func notThere(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "3D000" || e.Code == "42P01")
}

// holdable reports whether PostgreSQL can hold a text.
func holdable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// answer is what the server says to one query.
type answer struct {
	conn   *pgx.Conn
	schema string
	q      connector.TableQuery
	target string
	types  map[string]string // of the table's columns
	terms  []string          // of the condition
	args   []any
}

// rows calls yield with the values of each row.
func (a *answer) rows(ctx context.Context, columns []string, way string,
	yield func(values []any) error) error {
	if err := a.readTypes(ctx); err != nil || len(a.types) == 0 {
		return err
	}
	text, err := a.query(columns, way)
	if err != nil {
		return err
	}
	rows, err := a.conn.Query(ctx, text, a.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		values = values[:len(columns)]
		for i, v := range values {
			values[i] = plain(v, a.types[columns[i]])
		}
		if err := yield(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readTypes asks for the table's columns; there are none if there is no table.
func (a *answer) readTypes(ctx context.Context) error {
	rows, err := a.conn.Query(ctx, `SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)
		FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND a.attnum > 0 AND NOT a.attisdropped`, a.schema, a.q.Table)
	if err != nil {
		return err
	}
	defer rows.Close()
	a.types = map[string]string{}
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return err
		}
		a.types[name] = typ
	}
	return rows.Err()
}

// typed returns the type of a column.
func (a *answer) typed(name string) (string, error) {
	typ, ok := a.types[name]
	if !ok {
		return "", a.misfit("it has no column %s", name)
	}
	return typ, nil
}

func (a *answer) misfit(format string, args ...any) error {
	return fault.New(fault.Permanent, "read table %s: %s", a.target, fmt.Sprintf(format, args...))
}

// query is the text of a query for columns.
func (a *answer) query(columns []string, way string) (string, error) {
	list := make([]string, len(columns), len(columns)+1)
	for i, name := range columns {
		typ, err := a.typed(name)
		if err != nil {
			return "", err
		}
		if list[i] = quote(name); !readable(typ) {
			list[i] += "::text"
		}
	}
	if len(list) == 0 {
		list = append(list, "1") // a row of nothing is a row
	}
	if err := a.where(); err != nil {
		return "", err
	}
	text := "SELECT " + strings.Join(list, ", ") + " FROM " + a.target + " WHERE " +
		strings.Join(a.terms, " AND ") + " ORDER BY " + quote(a.q.Time) + way
	if a.q.Limit > 0 {
		text += " LIMIT " + a.bind(int64(a.q.Limit))
	}
	return text, nil
}

// bind returns what stands in the text for a value.
func (a *answer) bind(v any) string {
	a.args = append(a.args, v)
	return "$" + strconv.Itoa(len(a.args))
}

// where writes the condition down. A row without a time, or with one that never comes, is in no order
// of times.
func (a *answer) where() error {
	typ, err := a.typed(a.q.Time)
	if err != nil {
		return err
	}
	zone, known := map[string]string{"timestamp with time zone": "",
		"timestamp without time zone": " AT TIME ZONE 'UTC'"}[withoutPrecision(typ)]
	if !known {
		return a.misfit("column %s is %s, want a timestamp", a.q.Time, typ)
	}
	name := quote(a.q.Time)
	a.terms = []string{"isfinite(" + name + ")"}
	bound := func(how string, at time.Time) {
		switch seconds := at.Unix(); {
		case at.IsZero(), how == " >= " && seconds < firstSecond, how == " < " && seconds > lastSecond:
		case seconds < firstSecond, seconds > lastSecond:
			a.terms = append(a.terms, "FALSE")
		default: // the first microsecond that is not before it
			at = at.Add(time.Microsecond - 1).Truncate(time.Microsecond).UTC()
			a.terms = append(a.terms, name+how+"("+a.bind(at)+"::timestamp with time zone"+zone+")")
		}
	}
	bound(" >= ", a.q.From)
	bound(" < ", a.q.To)
	for _, name := range slices.Sorted(maps.Keys(a.q.Equal)) {
		if _, err := a.typed(name); err != nil {
			return err
		}
		term := "FALSE"
		if text := a.q.Equal[name]; holdable(text) {
			term = quote(name) + " = " + a.bind(text)
		}
		a.terms = append(a.terms, term)
	}
	return nil
}

// withoutPrecision leaves out what stands in brackets in the name of a type.
func withoutPrecision(typ string) string {
	before, rest, ok := strings.Cut(typ, "(")
	if _, after, closed := strings.Cut(rest, ")"); ok && closed {
		return before + after
	}
	return typ
}

// readable reports whether plain knows the values of a type; others are asked for as texts.
func readable(typ string) bool {
	switch withoutPrecision(typ) {
	case "boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "character varying",
		"bytea", "timestamp with time zone", "timestamp without time zone":
		return true
	}
	return false
}

// plain is a value as the contract wants it.
func plain(v any, typ string) any {
	switch v := v.(type) {
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case float32:
		return float64(v)
	case time.Time:
		return v.UTC()
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case pgtype.InfinityModifier:
		return v.String()
	case string:
		if strings.HasPrefix(typ, "numeric") {
			return number(v)
		}
	}
	return v
}

// number is a numeric: an integer if it is one that fits.
func number(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return f
}
