// Package connector holds the contracts between jobs and the outside world: sources, sinks, tables, brokers,
// destinations, ledgers, fetchers and watchers. A job knows them by these alone, and every implementation runs
// the contract suite beside it (sourcetest, sinktest, tabletest, brokertest, desttest, ledgertest, watchertest).
// What several implementations need besides stands here too: a turn at a connection, pages that are read ahead.
//
// What an implementation can do is data (Traits), never a type assertion. Errors carry a
// base/fault kind: the connector alone knows which of its server's answers are an outage and which
// speak of one row.
package connector

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
)

// SourceTraits says what a source can do.
type SourceTraits struct {
	// Pausable: the source waits for us (a poll), so a full disk or a limit may stop intake
	// without loss. A source that can't wait loses rows then, and counts them in Page.Lost.
	Pausable bool
	// Fillable: Fetch honours Request.Fill, so gaps can be asked for again.
	Fillable bool
	// DenseKeys: the source numbers its rows, so an absent number is a gap.
	DenseKeys bool
	// Lost, of a source that can't wait, returns how many items it could not hold since the last call, or since the last page,
	// told of them; nil if it can wait. It is asked between two Fetches while intake is held, so that the number is in the
	// store, and not only in a page that never came, when the process is killed.
	Lost func() int64
}

// KeyRange is a closed range of integer keys.
type KeyRange struct{ From, To uint64 }

// Request is one question to a source.
type Request struct {
	// Cursor is what the last page returned, nil at the very start.
	Cursor []byte
	// Fill, if not nil, asks for these keys instead of what follows the cursor. The page may hold
	// other keys too; its Cursor is then ignored.
	Fill *KeyRange
}

// Reject is an item that did not become a row, with the reason.
type Reject struct {
	Raw    []byte // the item as the source gave it, at most 64 KiB
	Key    string // its key, if one could be read
	Reason string // what is wrong with it, for a person
	// Loose says that the key is not to be believed: it does not become known, and the item is told from
	// others by its bytes.
	Loose bool
}

// Interval is a span of time.
type Interval struct{ From, To time.Time }

// Page is one answer of a source. Its rows have the columns of the source's Schema, in that order, and may
// have more behind them (record.Optional).
type Page struct {
	// Rows are the items that became rows, in any order; nil or empty if there are none.
	Rows arrow.RecordBatch
	// Where, if not nil, says for people where a row of Rows stands in what was read: line 7 of a file.
	Where func(row int) string
	// Rejected are the items that did not. Rows, Rejected and Filtered are all that was read.
	Rejected []Reject
	// Filtered counts items that the source's configuration leaves out.
	Filtered int64
	// Cursor is where the source is after this page.
	Cursor []byte
	// More: the next page can be asked for at once. The Fetch of a stream says so always, and blocks until
	// there is something.
	More bool
	// Lost counts items that came since the last page and could not be held until they were asked for.
	// A page that comes with an error is not heard: a source tells its losses with the next whole one.
	Lost int64
	// Missed, if not nil, is a time in which a source that can't wait did not hear: what came then is
	// lost, and nobody knows how much.
	Missed *Interval
	// End: there will be nothing more, ever; the job ends once its sinks have all. Behind the end of a data set of
	// files there is what was added to it since, for who asks again with the cursor.
	End bool
	// Complete, if not nil, is the range of keys for which this page holds all that the source has.
	// A truncated or reordered answer is complete for less than it spans.
	Complete *KeyRange
	// Notes are counters for people, by name: "locator_invalid" and the like.
	Notes map[string]int64
	// Carry is for a source that keeps books of its own beside the rows: the job gives it back within the
	// commit of the page, and looks at it no further.
	Carry any
	// Taken, if not nil, is called once the page is durable, to tell whoever keeps it too.
	Taken func(ctx context.Context)
}

// Source is a feed that is asked for pages. It is used by one goroutine at a time.
type Source interface {
	Traits() SourceTraits
	// Schema is the schema of the rows of every page.
	Schema() record.Schema
	// Fetch asks once, and returns when the answer is complete, ctx ends or the source's own
	// time-outs strike. It never retries by itself beyond renewing a session.
	Fetch(ctx context.Context, r Request) (Page, error)
	// Start returns the cursor from which everything that comes after the keys up to highest is
	// read; highest 0 means that nothing is known and all that the feed keeps is wanted.
	Start(highest uint64) []byte
	Close() error
}

// Exactness is what a sink promises about repeats.
type Exactness string

// The two promises. ExactlyOnce needs the token or the keys; else the console says at least once.
const (
	ExactlyOnce Exactness = "exactly once"
	AtLeastOnce Exactness = "at least once"
)

// SinkTraits says what a sink can do.
type SinkTraits struct {
	Exactness Exactness
	// MaxRows is the most rows that one Write takes; 0 means any number.
	MaxRows int
}

// Delivery is the unit of writing: blocks whose boundaries, content and token were durable before
// the first attempt, so that a retry is the same to the byte.
type Delivery struct {
	Token  record.Token
	Schema record.Schema
	Rows   arrow.RecordBatch
	// FirstAttempt is when the first Write of this token began (now, for the first).
	FirstAttempt time.Time
	// Unknown: an earlier attempt may have reached the sink, and its outcome was never learnt.
	Unknown bool
	// ByKey: what the sink holds must be compared by key before anything is sent, token or not:
	// after a restore, a salvage, or with a new data directory against an old sink. A repeat of a delivery
	// may come with it or without, whatever the attempts before it had.
	ByKey bool
}

// Verdict is what became of a delivery whose Write returned a nil error: every row is either in the
// sink or in Rejected.
type Verdict struct {
	// Present counts the rows that the sink already had, which were therefore not sent again.
	Present int64
	// Rejected are the rows that this sink can't hold, with the sink's words.
	Rejected []RowFault
}

// RowFault is one row that a sink refused.
type RowFault struct {
	Row    int // index within Delivery.Rows
	Reason string
}

// Sink takes deliveries. Write is called by one goroutine at a time, Traits, Probe and the reader methods
// from any.
type Sink interface {
	Traits() SinkTraits
	// Prepare connects, creates what it was told to create, and proves that rows of schema s can be
	// written. It runs before the first Write and after every outage; a schema that does not fit is
	// a Permanent fault that names the column.
	Prepare(ctx context.Context, s record.Schema) error
	// Write puts the rows into the sink at most once each, however often it is called with the same
	// token. Errors: Transient and Throttled leave the outcome unknown to the caller, who calls
	// again with Unknown set; Invalid means that the sink refused the delivery as a whole because of
	// some of its rows, and that none of them is in it; Permanent and Credentials need a person.
	Write(ctx context.Context, d Delivery) (Verdict, error)
	// Probe is the canary: a real operation that shows that a Write would work, without a trace.
	Probe(ctx context.Context) error
	// Reader returns what can be asked of the sink's rows, nil if it can't be read back.
	Reader() SinkReader
	Close() error
}

// SinkReader asks a sink about its rows, by integer key where they have one.
type SinkReader interface {
	// Holds reports whether there is any row at all.
	Holds(ctx context.Context) (bool, error)
	// Highest is the highest key in the sink, ok is false if it holds none (or has no table yet).
	Highest(ctx context.Context) (key uint64, ok bool, err error)
	// Tally sums up a key range, for comparison without moving the keys.
	Tally(ctx context.Context, r KeyRange) (Tally, error)
	// Keys calls yield for every key in the range with the number of rows that have it, in
	// ascending order, and returns the first error of yield.
	Keys(ctx context.Context, r KeyRange, yield func(key, rows uint64) error) error
}

// Tally is a commutative summary of a set of rows by key.
type Tally struct {
	Rows     uint64 // rows
	Distinct uint64 // different keys
	Xor      uint64 // exclusive or of the different keys
	Sum      uint64 // sum of the different keys, modulo 2^64
}

// TallyOf sums up what a walk over keys yields, for a sink that can't have its server do it.
func TallyOf(walk func(yield func(key, rows uint64) error) error) (Tally, error) {
	var t Tally
	err := walk(func(key, rows uint64) error {
		t.Rows += rows
		t.Distinct++
		t.Xor ^= key
		t.Sum += key
		return nil
	})
	return t, err
}

// Sleep waits, and returns the error of ctx if that ends before.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
