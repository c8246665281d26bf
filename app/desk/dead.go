package desk

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"holdfast/app"
	"holdfast/base/record"
	"holdfast/base/rowtext"
	"holdfast/job/collect"
	"holdfast/job/transfer"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// DeadLetters lists dead letters of a job behind id after, at most max.
func (d *Desk) DeadLetters(ctx context.Context, job string, after uint64,
	max int) (out []balance.DeadLetter, err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		out, err = balance.ListDead(r, after, max)
		return err
	})
	return out, err
}

// Letter is a dead letter as people see it.
type Letter struct {
	balance.DeadLetter
	// Values are the columns of the row, where it is one.
	Values json.RawMessage `json:"values,omitempty"`
	// Columns are those of the row, or those that it must have to be one, as far as the running job knows them.
	Columns []LetterColumn `json:"columns,omitempty"`
}

// LetterColumn is a column of a row.
type LetterColumn struct {
	Name string `json:"name"`
	Type string `json:"type"` // as Apache Arrow calls it
	Key  bool   `json:"key,omitempty"`
	Null bool   `json:"null,omitempty"` // it may have no value
}

func columnsOf(s record.Schema) (all []LetterColumn) {
	for i, f := range s.Fields() {
		all = append(all, LetterColumn{Name: f.Name, Type: f.Type.String(), Key: i == s.Key, Null: f.Nullable})
	}
	return all
}

// Refused reports whether it is a row that a sink refused.
func (l Letter) Refused() bool { return l.Stage == balance.AtSink }

// DeadLetter returns one dead letter.
func (d *Desk) DeadLetter(ctx context.Context, job string, id uint64) (l Letter, err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		l.DeadLetter, err = balance.ReadDead(r, id)
		return err
	})
	if err != nil {
		return l, err
	}
	if len(l.Batch) == 0 {
		if j, ok := d.plan.Running(job); ok {
			l.Columns = columnsOf(j.Schema())
		}
		return l, nil
	}
	rows, err := record.Decode(l.Batch, record.Hash(l.Hash))
	if err != nil {
		return l, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	if s, serr := record.SchemaOf(rows.Schema()); serr == nil {
		l.Columns = columnsOf(s)
	}
	l.Values, err = rowtext.Object(rows)
	return l, err
}

// EditDead replaces the row of a dead letter by an edited one, which is tried instead: see collect.Edit.
func (d *Desk) EditDead(ctx context.Context, job string, id uint64, e collect.Edit) error {
	if d.eng != nil {
		order, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = d.Command(ctx, job, "dead-edit", strconv.FormatUint(id, 10), string(order))
		return err
	}
	return d.intake(ctx, job, func(in *collect.Intake) error { return in.EditDead(ctx, id, e) })
}

// Edit is what is changed of a dead letter.
type Edit = collect.Edit

// RetryDead gives a dead letter another try.
func (d *Desk) RetryDead(ctx context.Context, job string, id uint64) error {
	if d.eng != nil {
		_, err := d.Command(ctx, job, "dead-retry", strconv.FormatUint(id, 10))
		return err
	}
	if d.kindOf(job) == app.TransferKind {
		return d.with(ctx, job, func(st *store.Store) error { return transfer.RetryDead(st, id) })
	}
	return d.intake(ctx, job, func(in *collect.Intake) error {
		return in.RetryDead(ctx, id)
	})
}

// DiscardDead lets a dead letter go, with a reason for the history.
func (d *Desk) DiscardDead(ctx context.Context, job string, id uint64, reason string) error {
	if d.eng != nil {
		_, err := d.Command(ctx, job, "dead-discard", strconv.FormatUint(id, 10), reason)
		return err
	}
	if d.kindOf(job) == app.TransferKind {
		return d.with(ctx, job, func(st *store.Store) error { return transfer.DiscardDead(st, id, reason) })
	}
	return d.intake(ctx, job, func(in *collect.Intake) error {
		return in.DiscardDead(id, reason)
	})
}

// DeadLetter is an item that could not go on.
type DeadLetter = balance.DeadLetter
