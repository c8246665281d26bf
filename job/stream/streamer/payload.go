package streamer

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/rowtext"
)

// payload writes rows as they are sent. A row that has a time for which the layout is too coarse has its times as RFC
// 3339: else two rows of one minute would be one.
type payload struct {
	coarse, fine *rowtext.Rows
	times        []moments
}

// moments are the times of a column.
type moments struct {
	column *array.Timestamp
	step   int64 // those that are a multiple of it stand in the layout; 0 for none
}

func newPayload(rows arrow.RecordBatch, layout string) *payload {
	p := &payload{coarse: rowtext.ObjectsAt(rows, rowtext.Typed, layout), fine: rowtext.Objects(rows, rowtext.Typed)}
	step := stepOf(layout)
	for _, col := range rows.Columns() {
		if c, ok := col.(*array.Timestamp); ok {
			unit := c.DataType().(*arrow.TimestampType).Unit.Multiplier()
			if step > 0 {
				step = max(step, unit)
			}
			p.times = append(p.times, moments{c, int64(step / unit)})
		}
	}
	return p
}

// append appends a row; a reason that is not empty says why there is no text for it.
func (p *payload) append(dst []byte, row int) (out []byte, reason string) {
	for _, m := range p.times {
		if !m.column.IsNull(row) && !m.stands(row) {
			return p.fine.Append(dst, row)
		}
	}
	return p.coarse.Append(dst, row)
}

func (m moments) stands(row int) bool {
	return m.step > 0 && int64(m.column.Value(row))%m.step == 0
}

// stepOf is the least span whose multiples are the same time again when they were written in a layout and read, 0 if
// there is none.
func stepOf(layout string) time.Duration {
	some := time.Date(2006, 11, 22, 13, 44, 55, 123_456_789, time.UTC)
	for _, step := range []time.Duration{time.Nanosecond, time.Microsecond, time.Millisecond, time.Second, time.Minute,
		time.Hour, 24 * time.Hour} {
		t := some.Truncate(step)
		if read, err := time.Parse(layout, t.Format(layout)); err == nil && read.Equal(t) {
			return step
		}
	}
	return 0
}
