package connector

import (
	"context"
	"time"
)

// TableQuery says which rows of a table are wanted. What is zero is no bound.
type TableQuery struct {
	Table string // the table, or the measurement
	// Time is the column of a row's time; where rows have a time of their own, as in InfluxDB, it names that.
	Time string
	// Columns are the values wanted of each row, in this order. The time is one only if it is among them.
	Columns []string
	// From and To bound the time; To itself is not within.
	From, To time.Time
	// Equal are texts that columns must have: data, never a part of a query's text.
	Equal map[string]string
	// Limit is the most rows; 0 is all.
	Limit int
}

// Tables reads back what sinks have written, by table and time. It is used from any goroutine, and never tries
// anything again by itself.
//
// Errors carry a kind of base/fault: Transient for a database that is away, Credentials, Permanent for a table
// that can't be read so (a column that is not there). A database or a table that is not there yet holds no rows; that
// is no error, because nothing was written to it so far.
type Tables interface {
	// Rows calls yield for each row in the order of time, those of one time in any, and returns the first error of
	// yield. A value is nil, a bool, a string, an int64, a float64 or a time.Time in UTC. The slice is valid until
	// yield returns. After an error the rows that were yielded are not all.
	Rows(ctx context.Context, q TableQuery, yield func(values []any) error) error
	// Newest is the time of the newest row; ok is false if there is none. Columns, Limit and the order of rows are
	// not looked at.
	Newest(ctx context.Context, q TableQuery) (at time.Time, ok bool, err error)
	// Close gives connections up.
	Close() error
}
