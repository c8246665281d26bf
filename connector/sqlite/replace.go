package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"maps"
)

// replace is write for rows that replace others: of each time only those with the highest revision stand,
// whether they come now or are there. A row that is refused replaces nothing. What the table alone refuses
// is known only after others have gone for it; so all is taken back then and done again without that row.
func (w *writer) replace(ctx context.Context, db *session, n int) error {
	for {
		if err := db.exec(ctx, "SAVEPOINT replacing"); err != nil {
			return err
		}
		known := len(w.unfit)
		err := w.supersede(ctx, n)
		if err == nil {
			err = w.write(ctx, n)
		}
		if err != nil || len(w.unfit) == known {
			return err
		}
		if err := db.exec(ctx, "ROLLBACK TO replacing"); err != nil {
			return err
		}
		w.args, w.rows = w.args[:0], w.rows[:0]
		w.verdict.Present, w.verdict.Rejected = 0, nil
	}
}

// exec runs a statement on the writing connection.
func (db *session) exec(ctx context.Context, query string) error {
	_, err := db.w.ExecContext(context.WithoutCancel(ctx), query)
	return err
}

// supersede finds the highest revision of each time among n rows and in the table, and deletes what the table
// has of lower ones.
func (w *writer) supersede(ctx context.Context, n int) error {
	w.newest = map[int64]int64{}
	for i := range n {
		if w.read(i) == "" {
			at, revision := w.time(0), w.revision(0)
			if newest, ok := w.newest[at]; !ok || revision > newest {
				w.newest[at] = revision
			}
		}
		w.args = w.args[:0]
	}
	bare := context.WithoutCancel(ctx)
	for at, revision := range maps.Clone(w.newest) {
		if err := ctx.Err(); err != nil {
			return err
		}
		stands, ok, err := w.stands(bare, at)
		if err != nil {
			return err
		}
		if ok && stands >= revision {
			w.newest[at] = stands
			continue
		}
		if _, err := exec(bare, w.t.older, numbered(at, revision)); err != nil {
			return err
		}
	}
	return nil
}

// stands is the highest revision that the table has of a time, if it has any.
func (w *writer) stands(ctx context.Context, at int64) (revision int64, ok bool, err error) {
	rows, err := w.t.newest.(driver.StmtQueryContext).QueryContext(ctx, numbered(at))
	if err != nil {
		return 0, false, err
	}
	defer rows.Close()
	got := make([]driver.Value, 1)
	if err := rows.Next(got); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	switch v := got[0].(type) {
	case int64:
		return v, true, nil
	case float64: // a table of somebody else's may hold a small integer so
		return int64(v), true, nil
	}
	return 0, false, nil
}

func numbered(values ...int64) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// time and revision are those of the row whose values begin at an index of args.
func (w *writer) time(at int) int64     { return w.args[at+w.t.schema.Time].Value.(int64) }
func (w *writer) revision(at int) int64 { return w.args[at+w.t.key.Revision].Value.(int64) }

// unfitting refuses a row because the table does.
func (w *writer) unfitting(row int, reason string) {
	if w.newest != nil {
		if w.unfit == nil {
			w.unfit = map[int]string{}
		}
		w.unfit[row] = reason
	}
	w.refuse(row, reason)
}
