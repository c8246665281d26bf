package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Command carries out what a person asked of the running job: backfill, dead-retry ID,
// dead-edit ID EDIT (JSON), dead-discard ID REASON.
func (j *Job) Command(ctx context.Context, name string, args []string) (string, error) {
	switch name {
	case "backfill":
		return j.backfill()
	case "try":
		j.tryNow()
		return "", nil
	case "dead-retry":
		return "", j.withID(args, func(id uint64) error { return j.intake.RetryDead(ctx, id) })
	case "dead-edit":
		return "", j.withID(args, func(id uint64) error {
			var e Edit
			if err := json.Unmarshal([]byte(strings.Join(args[1:], " ")), &e); err != nil {
				return fault.New(fault.Invalid, "read the edit: %w", err)
			}
			return j.intake.EditDead(ctx, id, e)
		})
	case "dead-discard":
		return "", j.withID(args, func(id uint64) error {
			return j.intake.DiscardDead(id, strings.Join(args[1:], " "))
		})
	}
	return "", fault.New(fault.Invalid, "a collect job does not know the command %q", name)
}

func (j *Job) withID(args []string, f func(id uint64) error) error {
	if len(args) == 0 {
		return fault.New(fault.Invalid, "which dead letter? give its number")
	}
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return fault.New(fault.Invalid, "%q is not the number of a dead letter", args[0])
	}
	return f(id)
}

// tryNow makes closed gates try at once, because a person has done something about their cause.
func (j *Job) tryNow() {
	if j.cfg.Mended != nil {
		j.cfg.Mended()
	}
	j.gate.Kick()
	for _, d := range j.sinks {
		d.gate.Kick()
	}
}

// backfill makes every open gap due now.
func (j *Job) backfill() (string, error) {
	n := 0
	err := j.env.Store.Update(func(tx *store.Tx) error {
		gaps, err := balance.ListGaps(tx, j.intake.id, true, 1000)
		if err != nil {
			return err
		}
		for _, g := range gaps {
			g.Next = g.Found
			if err := balance.PutGap(tx, g); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	j.due.Kick()
	return fmt.Sprintf("%d open gaps are asked for now", n), nil
}

// RetryDead gives a dead letter another try: a row that a sink refused is delivered to that sink again,
// an item that was no row is read again. It moves between the terms of its law; nothing is added. A
// retry that fails leaves the dead letter as it is.
func (in *Intake) RetryDead(ctx context.Context, id uint64) error {
	return in.handleDead(ctx, "retry", id, in.retryRow, in.retryItem)
}

// handleDead calls row for a dead letter that a sink refused, and item for one that never was a row.
func (in *Intake) handleDead(ctx context.Context, verb string, id uint64,
	row, item func(balance.DeadLetter) error,
) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	var d balance.DeadLetter
	err := in.st.View(ctx, func(r store.Reader) (err error) {
		d, err = balance.ReadDead(r, id)
		return err
	})
	if err != nil {
		return err
	}
	switch d.Stage {
	case balance.AtSink:
		err = row(d)
	case balance.AtIntake:
		err = item(d)
	default:
		err = fault.New(fault.Invalid, "it is a task, not a row")
	}
	if err != nil {
		return fmt.Errorf("%s dead letter %d: %w", verb, id, err)
	}
	return nil
}

// retryRow puts the row back into the spool, pending for its one sink and settled for all others.
func (in *Intake) retryRow(d balance.DeadLetter) error {
	rows, err := record.Decode(d.Batch, record.Hash(d.Hash))
	if err != nil {
		return err
	}
	s, err := in.schemaOf(rows)
	if err != nil {
		return err
	}
	return in.sendAgain(d, s, rows, "dead.retried", fmt.Sprintf("dead letter %d is delivered to %s again", d.ID,
		d.From))
}

// sendAgain is the commit that makes a row pending in the place of its dead letter.
func (in *Intake) sendAgain(d balance.DeadLetter, s record.Schema, rows arrow.RecordBatch, kind,
	said string) error {
	b, err := spool.Build(in.id, s, rows, nil)
	if err != nil {
		return err
	}
	return in.st.Update(func(tx *store.Tx) error {
		if _, err := balance.Exhume(tx, d.ID); err != nil {
			return err
		}
		sinks, err := store.NamesOf(tx, store.SinkName)
		if err != nil {
			return err
		}
		if sinks[d.From] != d.FromID {
			return fault.New(fault.NotFound, "sink %s is not configured any more", d.From)
		}
		if _, err := in.sp.AppendFor(tx, b, d.FromID); err != nil {
			return err
		}
		if err := in.note(tx, kind, "%s", said); err != nil {
			return err
		}
		leave(tx, d, wasRetried)
		return balance.AddFlow(tx, d.FromID, balance.Flow{Dead: -1, Pending: 1,
			PendingBytes: int64(b.Bytes())})
	})
}

// retryItem reads the item again; it may be a row now, because the program or the item changed.
func (in *Intake) retryItem(d balance.DeadLetter) error {
	if in.parse == nil {
		return fault.New(fault.Invalid, "this source can't read single items again")
	}
	p := in.parse(d.Raw)
	if p.Rows == nil || p.Rows.NumRows() != 1 {
		why := "it is still no row"
		if len(p.Rejected) > 0 {
			why = p.Rejected[0].Reason
		}
		return fault.New(fault.Invalid, "%s", why)
	}
	s, err := in.schemaOf(p.Rows)
	if err != nil {
		return err
	}
	b, err := spool.Build(in.id, s, p.Rows, nil)
	if err != nil {
		return err
	}
	return in.st.Update(func(tx *store.Tx) error {
		if _, err := balance.Exhume(tx, d.ID); err != nil {
			return err
		}
		if have, err := in.has(tx, d, p.Rows); err != nil {
			return err
		} else if have {
			if err := in.note(tx, "dead.retried", "dead letter %d is a row that is known already", d.ID); err != nil {
				return err
			}
			return in.count(tx, balance.Intake{Rejected: -1, Duplicate: 1}, balance.Flow{})
		}
		if _, err := in.sp.Append(tx, b); err != nil {
			return err
		}
		if err := in.note(tx, "dead.retried", "dead letter %d is a row now", d.ID); err != nil {
			return err
		}
		return in.count(tx, balance.Intake{Rejected: -1, Accepted: 1},
			balance.Flow{Accepted: 1, Pending: 1, PendingBytes: int64(b.Bytes())})
	})
}

// has makes the key of a dead letter's row known, and reports whether a row with that key came in meanwhile. The key under
// which the item died has been known since then, although no row came in with it.
func (in *Intake) has(tx *store.Tx, d balance.DeadLetter, row arrow.RecordBatch) (bool, error) {
	if key, ok := record.TextKeys(in.schema, row); ok {
		now := time.Now()
		added, err := in.texts.Add(tx, now, []identity.Seen{{Hash: identity.HashOf(key(0)), At: now}})
		return added == 0 && d.Key != string(key(0)), err
	}
	keys, ok := record.Keys(in.schema, row)
	if !ok {
		return false, nil
	}
	// Gaps are looked for after the highest key: a key that the source has not reached yet would hide them all.
	if reached, any, err := in.reached(tx); in.traits.DenseKeys && err == nil && any && keys[0] > reached {
		return false, fault.WithHint(fault.New(fault.Invalid, "key %d is above %d, the highest that came", keys[0],
			reached), "give the row its right key, or discard it")
	} else if err != nil {
		return false, err
	}
	added, err := in.known.Add(tx, keys)
	died, none := strconv.ParseUint(d.Key, 10, 64)
	return added == 0 && (none != nil || died != keys[0]), err
}

// DiscardDead lets a dead letter go for good. A row that a sink refused then counts as discarded; an
// item that was no row stays rejected.
func (in *Intake) DiscardDead(id uint64, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return fault.New(fault.Invalid, "discard dead letter %d: a reason is needed", id)
	}
	err := in.st.Update(func(tx *store.Tx) error {
		d, err := balance.Exhume(tx, id)
		if err == nil {
			err = in.note(tx, "dead.discarded", "dead letter %d (%s: %s) was discarded: %s", id, d.From, d.Reason,
				reason)
		}
		if err != nil || d.Stage != balance.AtSink {
			return err
		}
		leave(tx, d, wasDiscarded)
		return balance.AddFlow(tx, d.FromID, balance.Flow{Dead: -1, Discarded: 1})
	})
	if err != nil {
		return fmt.Errorf("discard dead letter %d: %w", id, err)
	}
	return nil
}

// note records in the history what a person decided.
func (in *Intake) note(tx *store.Tx, kind, format string, args ...any) error {
	return engine.AddEvent(tx, engine.Event{At: time.Now().UTC(), Job: in.job, Kind: kind,
		Text: fmt.Sprintf(format, args...)})
}
