package streamer

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowtext"
	"holdfast/connector"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// hourColumn is the member that the payloads of WeatherVane have behind the columns.
const hourColumn = "hour"

const (
	// mostParts is how many batches a window has: the rows behind them are a window of their own.
	mostParts = 8000
	// partText is the most that the manifest of a window says of a batch: its rows, its hash, and what JSON has around
	// them.
	partText = len(`{"rows":9223372036854775807,"hash":""},`) + 2*sha256.Size
	// mostLate is how many time ranges rows that came late are collected for at once.
	mostLate = 48
	// mostRaw is how much of an item a dead letter keeps.
	mostRaw = 64 << 10
)

// pile is a window that is not closed yet. Its whole batches are in the store as they will be sent; the rows
// behind them, the tail, are written anew with every page.
type pile struct {
	ID    uint64    `json:"id"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"` // it keeps its span when that of windows is changed
	Rows  int       `json:"rows"`
	Tail  int       `json:"tail"`  // rows of it in no batch yet
	Bytes int64     `json:"bytes"` // of its batches, packed
	Parts []part    `json:"parts,omitempty"`

	// After: the window in front of it was of the same time, and says that more follows.
	After bool `json:"after,omitempty"`

	more   bool   // the next row of its time is in another one
	tail   []byte // the beginning of the next batch's payload
	hour   []byte // what stands behind the columns of a row
	behind bool   // it has changed since the last commit
}

func newPile(id uint64, from, to time.Time) *pile {
	return (&pile{ID: id, From: from, To: to, tail: []byte("[")}).ready()
}

// has reports whether a time is of the pile.
func (p *pile) has(at time.Time) bool { return !at.Before(p.From) && at.Before(p.To) }

func (p *pile) ready() *pile {
	p.hour = fmt.Appendf(nil, `,%q:%d}`, hourColumn, p.From.UTC().Hour())
	return p
}

func (p *pile) readTail(r store.Reader) error {
	v, ok, err := r.Get(keyTail(p.ID))
	if err == nil && !ok {
		err = fault.New(fault.Corrupt, "pile %d has no tail", p.ID)
	}
	if err == nil {
		p.tail, err = unpack(v)
	}
	p.ready()
	return err
}

func (p *pile) write(tx *store.Tx) {
	put(tx, keyPile(p.ID), p)
	tx.Set(keyTail(p.ID), pack(p.tail))
}

// remove removes a pile that became a window, or can't. Its batches stay.
func (p *pile) remove(tx *store.Tx) {
	tx.Delete(keyPile(p.ID))
	tx.Delete(keyTail(p.ID))
}

// batch is one that was cut.
type batch struct {
	pile   uint64
	index  int
	packed []byte
}

// step is what one page leads to, for one commit.
type step struct {
	batches []batch
	gone    []*pile // that were closed
	windows []*window
	refused []connector.Reject
	rows    int64 // that are in windows or piles
}

// bytes is about what the commit writes.
func (s *step) bytes() int {
	n := 64 << 10
	for _, b := range s.batches {
		n += len(b.packed)
	}
	for _, r := range s.refused {
		n += len(r.Raw) + 256
	}
	return n
}

// cutter makes windows of rows. It is ahead of the store until its steps are committed.
type cutter struct {
	span   time.Duration
	batch  int // most rows of a batch
	most   int // most bytes of its payload
	layout string
	name   func(from time.Time) string // a window's key
	schema record.Schema

	state state
	now   *pile   // the open window; nil if there is none
	late  []*pile // those in front of it, by time
	row   []byte
}

// resume takes up the piles of a store. The one that is furthest in time is the open window.
func (c *cutter) resume(piles []*pile) {
	for _, p := range piles {
		if p.To.IsZero() { // of a release that did not write it down
			p.To = p.From.Add(c.span)
		}
	}
	slices.SortFunc(piles, func(a, b *pile) int { return a.From.Compare(b.From) })
	if n := len(piles); n > 0 {
		c.now, c.late = piles[n-1], piles[:n-1]
	}
}

func (c *cutter) piles() []*pile {
	if c.now == nil {
		return nil
	}
	return append(slices.Clone(c.late), c.now)
}

// rows is how many rows the piles have.
func (c *cutter) rows() (n int64) {
	for _, p := range c.piles() {
		n += int64(p.Rows)
	}
	return n
}

// take takes the rows of a page. What can't be sent is refused; where says where a row stands, if it is not nil.
func (c *cutter) take(rows arrow.RecordBatch, where func(row int) string) *step {
	s := new(step)
	if rows == nil || rows.NumRows() == 0 {
		return s
	}
	rows = withoutHour(rows)
	shifted := c.shift(rows)
	read, _ := record.EventTimes(c.schema, rows)
	at, _ := record.EventTimes(c.schema, shifted)
	times, text := shifted.Column(c.schema.Time), newPayload(shifted, c.layout)
	near := rowtext.Objects(rows, rowtext.Words) // as it was read: the same in each lap
	for i := range int(shifted.NumRows()) {
		var why string
		if times.IsNull(i) {
			why = fmt.Sprintf("%s is null: a row without a time belongs to no window",
				c.schema.Field(c.schema.Time).Name)
		} else if why = c.noDate(read(i).UTC(), at(i).UTC()); why != "" {
			why = c.schema.Field(c.schema.Time).Name + " " + why
		} else if c.row, why = text.append(c.row[:0], i); why == "" {
			why = c.add(at(i).UTC(), s)
		}
		if why != "" {
			raw, _ := near.Append(nil, i)
			if where != nil {
				why = where(i) + ": " + why
			}
			s.refused = append(s.refused, connector.Reject{Raw: raw[:min(len(raw), mostRaw)], Reason: why,
				Loose: true})
		}
	}
	return s
}

// firstDate is after the date that stands in files that have none: Go's zero time, and those of others.
var firstDate = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)

// noDate says why a time can't be that of a row; read is what it was before it was moved to its lap. The beginning of a window
// can't be the zero time, which stands for an unknown time, and its end has to be a time that JSON can hold.
func (c *cutter) noDate(read, at time.Time) (why string) {
	switch from := at.Truncate(c.span); {
	case read.Before(firstDate) || from.Before(firstDate):
		return fmt.Sprintf("is %s, which stands for no date", read.Format(time.RFC3339Nano))
	case from.Add(c.span).Year() > lastYear:
		return fmt.Sprintf("is %s: its window would end behind the year %d", at.Format(time.RFC3339Nano), lastYear)
	}
	return ""
}

// lastYear is the last one that JSON has.
const lastYear = 9999

// add adds the row in c.row to the window of its time.
func (c *cutter) add(at time.Time, s *step) (why string) {
	const frame = len(`[,"hour":23}]`)
	if n := len(c.row) + frame; n > c.most {
		return fmt.Sprintf("it has %d bytes as JSON, and a message of the broker takes %d", n, c.most)
	}
	p := c.pileOf(at, s)
	if len(p.tail)+len(c.row)+frame > c.most {
		p.cut(s)
	}
	if p.Tail > 0 {
		p.tail = append(p.tail, ',')
	}
	p.tail = append(append(p.tail, c.row[:len(c.row)-1]...), p.hour...)
	p.Rows, p.Tail, p.behind = p.Rows+1, p.Tail+1, true
	c.state.LapRows++
	s.rows++
	if p.Tail == c.batch {
		p.cut(s)
	}
	return ""
}

// cut makes a batch of the tail.
func (p *pile) cut(s *step) {
	p.tail = append(p.tail, ']')
	b := batch{pile: p.ID, index: len(p.Parts), packed: pack(p.tail)}
	s.batches = append(s.batches, b)
	p.Parts = append(p.Parts, part{Rows: p.Tail, Hash: wire.Hash(p.tail), Size: len(p.tail)})
	p.Bytes += int64(len(b.packed))
	p.tail, p.Tail = append(p.tail[:0], '['), 0
}

// mostParts is how many batches a window has: its manifest must fit into a message.
func (c *cutter) mostParts() int { return max(min(mostParts, c.most/partText), 1) }

// pileOf returns the pile of a time. A time behind the open window closes that.
func (c *cutter) pileOf(at time.Time, s *step) *pile {
	switch {
	case c.now == nil:
	case c.now.has(at):
		if len(c.now.Parts) >= c.mostParts() {
			c.now = c.another(c.now, false, at, s)
		}
		return c.now
	case at.Before(c.now.From):
		return c.latePile(at, s)
	default:
		c.close(s)
	}
	c.now = c.newPile(at)
	return c.now
}

func (c *cutter) latePile(at time.Time, s *step) *pile {
	i := slices.IndexFunc(c.late, func(p *pile) bool { return p.has(at) })
	if i >= 0 {
		if len(c.late[i].Parts) >= c.mostParts() {
			c.late[i] = c.another(c.late[i], true, at, s)
		}
		return c.late[i]
	}
	if len(c.late) == mostLate {
		c.closeLate(s)
	}
	p := c.newPile(at)
	i, _ = slices.BinarySearchFunc(c.late, p.From, func(p *pile, t time.Time) int { return p.From.Compare(t) })
	c.late = slices.Insert(c.late, i, p)
	return p
}

// another makes a window of a pile that has as many batches as a window may have, and returns a new pile for the other rows of
// its time.
func (c *cutter) another(full *pile, late bool, at time.Time, s *step) *pile {
	full.more = true
	c.window(full, late, s)
	p := c.newPile(at)
	p.After = true
	return p
}

func (c *cutter) newPile(at time.Time) *pile {
	from := at.Truncate(c.span)
	p := newPile(c.state.NextPile, from, from.Add(c.span))
	c.state.NextPile++
	if st := &c.state; st.Lap == 0 {
		if st.First.IsZero() || p.From.Before(st.First) {
			st.First = p.From
		}
		if p.To.After(st.Last) {
			st.Last = p.To
		}
	}
	return p
}

// close makes windows of all piles: of the open one, and of those for rows that came late. A window that continues another one
// of the same time follows it, unless there are several.
func (c *cutter) close(s *step) {
	if c.now != nil && !c.now.After {
		c.closeAfter(s)
	}
	if c.now != nil {
		c.window(c.now, false, s)
		c.now = nil
	}
	c.closeLate(s)
}

func (c *cutter) closeLate(s *step) {
	c.closeAfter(s)
	for _, p := range c.late {
		c.window(p, true, s)
	}
	c.late = nil
}

func (c *cutter) closeAfter(s *step) {
	c.late = slices.DeleteFunc(c.late, func(p *pile) bool {
		if p.After {
			c.window(p, true, s)
		}
		return p.After
	})
}

func (c *cutter) window(p *pile, late bool, s *step) {
	if p.Tail > 0 {
		p.cut(s)
	}
	s.windows = append(s.windows, &window{Number: c.state.Next, Pile: p.ID, Key: c.name(p.From), From: p.From,
		To: p.To, Late: late, More: p.more, Rows: p.Rows, Bytes: p.Bytes, Parts: p.Parts})
	s.gone = append(s.gone, p)
	c.state.Next++
}

// end takes the end of the data set. The data set begins again if it is to, and if there was anything in it. tooLate says that
// there are no dates left for another lap.
func (c *cutter) end(s *step, again bool) (tooLate bool) {
	c.close(s)
	st := &c.state
	if !again || st.LapRows == 0 {
		st.Over = true
		return false
	}
	if st.Lap == 0 {
		const day = 24 * 60 * 60
		st.Days = int((st.Last.Unix() - st.First.Unix() + day - 1) / day) // a Duration has 292 years
	}
	if st.Last.AddDate(0, 0, (st.Lap+1)*st.Days).Year() > lastYear {
		st.Over = true
		return true
	}
	st.Lap, st.LapRows, st.Cursor = st.Lap+1, 0, nil
	return false
}

// write writes what the step changed.
func (c *cutter) write(tx *store.Tx, s *step) {
	for _, b := range s.batches {
		tx.Set(keyBatch(b.pile, b.index), b.packed)
	}
	for _, w := range s.windows {
		put(tx, keyWindow(w.Number), w)
	}
	for _, p := range s.gone {
		p.remove(tx)
	}
	c.state.Piles = nil
	for _, p := range c.piles() {
		c.state.Piles = append(c.state.Piles, p.ID)
		if p.behind {
			p.write(tx)
		}
	}
	put(tx, keyState(), c.state)
}

// committed says that the step is durable.
func (c *cutter) committed() {
	for _, p := range c.piles() {
		p.behind = false
	}
}

// shift moves the event times of a page to the lap.
func (c *cutter) shift(rows arrow.RecordBatch) arrow.RecordBatch {
	if c.state.Lap == 0 {
		return rows
	}
	i := c.schema.Time
	old := rows.Column(i).(*array.Timestamp)
	unit := old.DataType().(*arrow.TimestampType).Unit
	by := arrow.Timestamp(int64(c.state.Lap*c.state.Days) * int64(24*time.Hour/unit.Multiplier()))
	b := array.NewTimestampBuilder(memory.DefaultAllocator, old.DataType().(*arrow.TimestampType))
	b.Reserve(old.Len())
	for row, v := range old.TimestampValues() {
		if old.IsNull(row) {
			b.AppendNull()
		} else {
			b.Append(v + by)
		}
	}
	columns := slices.Clone(rows.Columns())
	columns[i] = b.NewArray()
	return array.NewRecordBatch(rows.Schema(), columns, rows.NumRows())
}

// withoutHour leaves out an undeclared column that has the name of ours.
func withoutHour(rows arrow.RecordBatch) arrow.RecordBatch {
	at := rows.Schema().FieldIndices(hourColumn)
	if len(at) == 0 {
		return rows
	}
	var fields []arrow.Field
	var columns []arrow.Array
	for i, f := range rows.Schema().Fields() {
		if !slices.Contains(at, i) {
			fields, columns = append(fields, f), append(columns, rows.Column(i))
		}
	}
	md := rows.Schema().Metadata()
	return array.NewRecordBatch(arrow.NewSchema(fields, &md), columns, rows.NumRows())
}

// hourKey is a window's key in the channels of WeatherVane.
func hourKey(from time.Time) string { return strconv.Itoa(from.UTC().Hour()) }
