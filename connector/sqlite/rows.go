package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/record"
	"holdfast/connector"
)

// value reads one value of a column; a reason that is not empty says why SQLite can't hold it.
type value func(row int) (v driver.Value, reason string)

// valuesOf returns the reader of a column.
func valuesOf(name string, col arrow.Array) value {
	get := plainValues(name, col)
	if col.NullN() == 0 {
		return get
	}
	return func(i int) (driver.Value, string) {
		if col.IsNull(i) {
			return nil, ""
		}
		return get(i)
	}
}

func plainValues(name string, col arrow.Array) value {
	if integer := record.Integers(col); integer != nil {
		return func(i int) (driver.Value, string) { return integer(i), "" }
	}
	switch c := col.(type) {
	case *array.Boolean:
		return func(i int) (driver.Value, string) { return c.Value(i), "" }
	case *array.Uint64:
		return bigIntegers(name, c.Uint64Values())
	case *array.Timestamp:
		return func(i int) (driver.Value, string) { return int64(c.Value(i)), "" }
	case *array.Float32:
		return floats(name, c.Float32Values())
	case *array.Float64:
		return floats(name, c.Float64Values())
	case *array.String:
		return func(i int) (driver.Value, string) { return c.Value(i), "" }
	case *array.LargeString:
		return func(i int) (driver.Value, string) { return c.Value(i), "" }
	case *array.Binary:
		return func(i int) (driver.Value, string) { return c.Value(i), "" }
	case *array.LargeBinary:
		return func(i int) (driver.Value, string) { return c.Value(i), "" }
	}
	return func(int) (driver.Value, string) {
		return nil, fmt.Sprintf("column %s is %s, which this sink can't store", name, col.DataType())
	}
}

func bigIntegers(name string, v []uint64) value {
	return func(i int) (driver.Value, string) {
		if v[i] > math.MaxInt64 {
			return nil, fmt.Sprintf("%s %d is above %d, the largest integer that SQLite holds",
				name, v[i], int64(math.MaxInt64))
		}
		return int64(v[i]), ""
	}
}

func floats[T float32 | float64](name string, v []T) value {
	return func(i int) (driver.Value, string) {
		if v[i] != v[i] {
			return nil, name + " is not a number, and SQLite would store NULL"
		}
		return float64(v[i]), ""
	}
}

// writer puts the rows of one delivery into the table, inside a transaction that somebody else
// begins and ends.
type writer struct {
	t       *table
	cols    []value
	args    []driver.NamedValue // of the rows that wait for the next statement
	rows    []int               // their indexes
	verdict connector.Verdict
	between func() error // called between statements; its error ends the work

	// Where rows replace others:
	newest map[int64]int64 // the highest revision of each time, else nil
	unfit  map[int]string  // rows that the table has refused, with the reason
}

// newWriter returns a writer for the rows of b, whose columns are those of t's schema.
func newWriter(t *table, b arrow.RecordBatch, between func() error) *writer {
	w := &writer{t: t, between: between, cols: make([]value, b.NumCols()),
		args: make([]driver.NamedValue, 0, t.chunk*int(b.NumCols())), rows: make([]int, 0, t.chunk)}
	for i := range w.cols {
		w.cols[i] = valuesOf(t.schema.Field(i).Name, b.Column(i))
	}
	return w
}

// write puts n rows.
func (w *writer) write(ctx context.Context, n int) error {
	// The statements themselves run without a context: watching one costs a goroutine a statement,
	// and a statement takes less than a millisecond.
	bare := context.WithoutCancel(ctx)
	for i := range n {
		if !w.add(i) || len(w.rows) < w.t.chunk {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.flush(bare); err != nil {
			return err
		}
		if err := w.between(); err != nil {
			return err
		}
	}
	return w.flush(bare)
}

// add takes the row i in, or refuses it, or finds that another has replaced it.
func (w *writer) add(i int) bool {
	at := len(w.args)
	reason := w.read(i)
	switch {
	case reason != "":
		w.refuse(i, reason)
	case w.newest != nil && w.revision(at) < w.newest[w.time(at)]:
		w.verdict.Present++
	default:
		w.rows = append(w.rows, i)
		return true
	}
	w.args = w.args[:at]
	return false
}

// read puts the values of row i behind args; a reason that is not empty says why the table can't hold it.
func (w *writer) read(i int) (reason string) {
	for c, get := range w.cols {
		v, reason := get(i)
		if reason != "" {
			return reason
		}
		if v == nil {
			if reason := w.t.key.Lacks(c); reason != "" {
				return reason
			}
		}
		w.args = append(w.args, driver.NamedValue{Ordinal: len(w.args) + 1, Value: v})
	}
	return w.unfit[i]
}

func (w *writer) refuse(row int, reason string) {
	w.verdict.Rejected = append(w.verdict.Rejected, connector.RowFault{Row: row, Reason: reason})
}

// flush writes the waiting rows.
func (w *writer) flush(ctx context.Context) error {
	defer func() { w.args, w.rows = w.args[:0], w.rows[:0] }()
	if len(w.rows) == w.t.chunk {
		put, err := exec(ctx, w.t.many, w.args)
		switch {
		case err == nil && put == int64(len(w.rows)):
			return nil
		case err == nil:
			return w.compare(ctx, int64(len(w.rows))-put)
		case !ofOneRow(err):
			return err
		}
		// The statement was undone as a whole because of one row; now each for itself.
	}
	for k, row := range w.rows {
		args := w.rowArgs(k)
		put, err := exec(ctx, w.t.one, args)
		switch {
		case err != nil && ofOneRow(err):
			w.unfitting(row, err.Error())
		case err != nil:
			return err
		case put == 0:
			if err := w.compareRow(ctx, row, args, &w.verdict.Present); err != nil {
				return err
			}
		}
	}
	return nil
}

// rowArgs returns the values of the k-th waiting row, numbered for a statement of one row.
func (w *writer) rowArgs(k int) []driver.NamedValue {
	n := len(w.cols)
	args := make([]driver.NamedValue, n)
	for c := range args {
		args[c] = driver.NamedValue{Ordinal: c + 1, Value: w.args[k*n+c].Value}
	}
	return args
}

// compare looks at the waiting rows, all of which are in the table now by their key, absent of
// which were there before: each has the content that we would write, or is refused.
func (w *writer) compare(ctx context.Context, absent int64) error {
	same := int64(0)
	for k, row := range w.rows {
		if err := w.compareRow(ctx, row, w.rowArgs(k), &same); err != nil {
			return err
		}
	}
	other := int64(len(w.rows)) - same
	w.verdict.Present += absent - other
	return nil
}

// compareRow counts a row whose stored content is the same, and refuses it if it is another: the
// stored one stays, and what came later is told with the columns that differ.
func (w *writer) compareRow(ctx context.Context, row int, args []driver.NamedValue,
	same *int64) error {
	differ, found, err := w.differences(ctx, args)
	switch {
	case err != nil:
		return err
	case !found:
		w.unfitting(row, "the table did not take it: a trigger ignored it")
	case len(differ) > 0:
		w.refuse(row, w.t.key.Differs(differ))
	default:
		*same++
	}
	return nil
}

// differences names the columns in which the stored row with the key of args is another.
func (w *writer) differences(ctx context.Context, args []driver.NamedValue) (
	names []string, found bool, err error) {
	if w.t.same == nil {
		return nil, false, nil
	}
	rows, err := w.t.same.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	got := make([]driver.Value, len(w.cols))
	if err := rows.Next(got); errors.Is(err, io.EOF) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	for i, v := range got {
		if v != int64(1) {
			names = append(names, w.t.schema.Field(i).Name)
		}
	}
	return names, true, nil
}

func exec(ctx context.Context, st driver.Stmt, args []driver.NamedValue) (int64, error) {
	res, err := st.(driver.StmtExecContext).ExecContext(ctx, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
