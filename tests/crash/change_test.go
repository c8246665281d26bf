package crash

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/kernel/balance"
)

// change is what one transaction does to the job's state, in the words of the model.
type change struct {
	ID     uint64         `json:"id"` // unique over all lives
	Kind   string         `json:"kind"`
	Of     int            `json:"of"` // source or sink, from 0
	Intake balance.Intake `json:"intake,omitzero"`
	Cursor uint64         `json:"cursor,omitempty"`
	Known  []uint64       `json:"known,omitempty"`  // keys that become known
	Blocks []block        `json:"blocks,omitempty"` // that are appended
	Keys   []uint64       `json:"keys,omitempty"`   // of rows that are delivered
	Dead   []letter       `json:"dead,omitempty"`   // letters that are buried, or exhumed
	Seqs   []uint64       `json:"seqs,omitempty"`   // of blocks that expire, are lost or damaged
	Rows   int64          `json:"rows,omitempty"`   // how many rows of Seqs are lost
	From   int            `json:"from,omitempty"`   // which rows of the block, if not all
	To     int            `json:"to,omitempty"`
	Bytes  int64          `json:"bytes,omitempty"` // of blocks that the sink is done with
	Gaps   int64          `json:"gaps,omitempty"`  // open gaps that are found
	Task   task           `json:"task,omitzero"`
}

// The kinds of changes.
const (
	aPage    = "page"
	aSettle  = "settle"
	aExpiry  = "expire"
	aForfeit = "forfeit"
	aRetry   = "retry"
	aDiscard = "discard"
	aReplay  = "replay"
	aDamage  = "damage"
	aNote    = "note" // the journal's entry alone
	aPut     = "put"
	aDone    = "done"
	aDelay   = "delay"
	aBury    = "bury"
	aRevive  = "revive"
	aDrop    = "drop"
)

// block is a block of the spool as the model knows it.
type block struct {
	Seq   uint64   `json:"seq"`
	Keys  []uint64 `json:"keys"`
	Bytes int64    `json:"bytes"`
	Bulk  int      `json:"bulk,omitempty"` // size of each row's note
	Only  int      `json:"only,omitempty"` // the one sink it is for, counted from 1; 0 is all
}

// letter is a dead letter: of a sink (from 0), or of intake (-1).
type letter struct {
	ID   uint64 `json:"id"`
	Key  uint64 `json:"key"`
	Sink int    `json:"sink"`
}

var schema = record.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
	{Name: "note", Type: arrow.BinaryTypes.String},
}, "id", "time")

// rowsOf builds the rows with these keys; a key says all of its row. bulk is how many bytes of noise
// the note of each has.
func rowsOf(keys []uint64, bulk int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for _, k := range keys {
		b.Field(0).(*array.Uint64Builder).Append(k)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1e9 + k%1e6))
		note := fmt.Appendf(make([]byte, 0, bulk+32), "note of %d", k)
		for r := rand.NewPCG(k, 0); len(note) < bulk; {
			note = binary.BigEndian.AppendUint64(note, r.Uint64())
		}
		b.Field(2).(*array.StringBuilder).Append(string(note))
	}
	return b.NewRecordBatch()
}

// digest stands for the content of rows, in their order.
func digest(rows arrow.RecordBatch) string {
	h := fnv.New128a()
	for c := range int(rows.NumCols()) {
		for i := range int(rows.NumRows()) {
			fmt.Fprint(h, rows.Column(c).ValueStr(i), "|")
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// poison reports whether sinks refuse the row with this key.
func poison(key uint64) bool { return key*0x9e3779b97f4a7c15>>56 < 10 }
