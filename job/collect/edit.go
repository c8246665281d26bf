package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowtext"
	"holdfast/kernel/balance"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Edit is what a person changes of a dead letter: some columns, or the whole row.
type Edit struct {
	// Row is the row whole, a JSON object with every column.
	Row json.RawMessage `json:"row,omitempty"`
	// Set are columns by name, as text; "null" is none where a column may be. They are applied to Row, else
	// to the row as it is.
	Set map[string]string `json:"set,omitempty"`
}

// maxTold is how much of a row the history keeps.
const maxTold = 4 << 10

// EditDead replaces the row of a dead letter and tries it: a row that a sink refused goes to that sink, by
// the way of every delivery; an item that was no row becomes one, for all sinks. One commit removes the dead
// letter, appends the row, moves the counts and writes down what was changed; nothing is added to a law. An
// edit that does not fit the columns is Invalid, names the column, and changes nothing.
//
// The key says which row it is. Where a sink refused the row, other sinks have it under its key, so that the key
// stays. Where there was no row yet any key is good that no row has: a known one is a Conflict.
func (in *Intake) EditDead(ctx context.Context, id uint64, e Edit) error {
	with := func(edit func(balance.DeadLetter, Edit) error) func(balance.DeadLetter) error {
		return func(d balance.DeadLetter) error {
			if len(e.Row) == 0 && len(e.Set) == 0 {
				return errNothingChanged
			}
			return edit(d, e)
		}
	}
	return in.handleDead(ctx, "edit", id, with(in.editRow), with(in.editItem))
}

var errNothingChanged = fault.New(fault.Invalid, "nothing is changed; `retry` tries it as it is")

// apply makes the edited row; was is the row as it is, nil if there is none.
func (e Edit) apply(s record.Schema, was arrow.RecordBatch) (arrow.RecordBatch, error) {
	values := []byte(e.Row)
	if len(values) == 0 {
		if was == nil {
			return nil, fault.WithHint(fault.New(fault.Invalid, "it is no row yet, so single columns can't be set"),
				"give the row whole, as a JSON object with --row FILE")
		}
		var err error
		if values, err = rowtext.Object(was); err != nil {
			return nil, err
		}
	}
	return record.ReadRow(s, values, e.Set)
}

func (in *Intake) editRow(d balance.DeadLetter, e Edit) error {
	was, err := record.Decode(d.Batch, record.Hash(d.Hash))
	if err != nil {
		return err
	}
	s, err := in.schemaOf(was)
	if err != nil {
		return err
	}
	row, err := e.apply(s, was)
	if err != nil {
		return err
	}
	changes := changed(was, row)
	if len(changes) == 0 {
		return errNothingChanged
	}
	if s.Key >= 0 && was.Column(s.Key).ValueStr(0) != row.Column(s.Key).ValueStr(0) {
		return fault.WithHint(fault.New(fault.Invalid, "column %s is the key, which stays: other sinks have the "+
			"row under it", s.Field(s.Key).Name), "if the key itself is wrong, discard the row")
	}
	return in.sendAgain(d, s, row, "dead.edited", fmt.Sprintf("dead letter %d (key %s) is delivered to %s edited: %s",
		d.ID, d.Key, d.From, strings.Join(changes, ", ")))
}

// changed says which columns of two rows differ, and how.
func changed(was, is arrow.RecordBatch) (out []string) {
	left := maxTold
	for i, f := range was.Schema().Fields() {
		old, now := was.Column(i).ValueStr(0), is.Column(i).ValueStr(0)
		if old == now && was.Column(i).IsNull(0) == is.Column(i).IsNull(0) {
			continue
		}
		text := fmt.Sprintf("%s was %.1000s and is %.1000s", f.Name, old, now)
		if left -= len(text); left < 0 {
			text = f.Name
		}
		out = append(out, text)
	}
	return out
}

func (in *Intake) editItem(d balance.DeadLetter, e Edit) error {
	row, err := e.apply(in.schema, nil)
	if err != nil {
		return err
	}
	b, err := spool.Build(in.id, in.schema, row, nil)
	if err != nil {
		return err
	}
	is, err := rowtext.Object(row)
	if err != nil {
		return err
	}
	return in.st.Update(func(tx *store.Tx) error {
		if _, err := balance.Exhume(tx, d.ID); err != nil {
			return err
		}
		if have, err := in.has(tx, d, row); err != nil {
			return err
		} else if have {
			return fault.WithHint(fault.New(fault.Conflict, "a row with key %s came in already",
				row.Column(in.schema.Key).ValueStr(0)), "if it is the same row, discard this one")
		}
		if _, err := in.sp.Append(tx, b); err != nil {
			return err
		}
		err := in.note(tx, "dead.edited", "dead letter %d was edited: it was %.*s and is the row %.*s", d.ID,
			maxTold, d.Raw, maxTold, is)
		if err != nil {
			return err
		}
		return in.count(tx, balance.Intake{Rejected: -1, Accepted: 1},
			balance.Flow{Accepted: 1, Pending: 1, PendingBytes: int64(b.Bytes())})
	})
}
