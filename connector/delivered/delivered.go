// Package delivered is the set of deliveries that a sink keeps in the database it writes to, in the
// transaction of the rows themselves: by it a repeat has no effect. Each kind of database stores the
// entries in its own way; what they mean, and how old ones are merged, is here.
//
// The set is a table of one entry a delivery, named by job, lineage and target. The newest entries keep
// the token's hash, so that a token that comes with other content is a conflict; older neighbours are
// merged into ranges without one.
package delivered

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

const (
	// Table is the name of the table.
	Table = "holdfast_delivered"
	// Keep is how many deliveries of one lineage into one table keep their hash at least.
	Keep = 10_000
	// Columns are those of an entry, in the order of Fields.
	Columns = `first, last, row_from, row_to, hash, rows, present, rejected, at`
)

// Entry is one delivery of the set, or several that are merged.
type Entry struct {
	First, Last    int64  // sequences of its blocks
	RowFrom, RowTo int64  // a part of their rows; 0, 0 for all
	Hash           []byte // nil when merged
	Rows, Present  int64
	Rejected       *string // the refused rows as JSON, nil for none
	At             int64   // Unix seconds
}

// Of is the entry of a delivery that was written.
func Of(d connector.Delivery, v connector.Verdict) (Entry, error) {
	t := d.Token
	e := Entry{First: int64(t.First), Last: int64(t.Last), RowFrom: int64(t.RowFrom),
		RowTo: int64(t.RowTo), Hash: t.Hash[:], Rows: d.Rows.NumRows(), Present: v.Present,
		At: time.Now().Unix()}
	if len(v.Rejected) > 0 {
		b, err := json.Marshal(v.Rejected)
		if err != nil {
			return e, fmt.Errorf("write refused rows: %w", err)
		}
		text := string(b)
		e.Rejected = &text
	}
	return e, nil
}

// Fields are where the columns are read to.
func (e *Entry) Fields() []any {
	return []any{&e.First, &e.Last, &e.RowFrom, &e.RowTo, &e.Hash, &e.Rows, &e.Present, &e.Rejected, &e.At}
}

// Values are what is written to the columns.
func (e *Entry) Values() []any {
	return []any{e.First, e.Last, e.RowFrom, e.RowTo, e.Hash, e.Rows, e.Present, e.Rejected, e.At}
}

// Conflict is the error for a token that meets e with other bounds or content. target is where it was
// to be written.
func (e *Entry) Conflict(target string, t record.Token) error {
	return fault.New(fault.Conflict, "write to %s: delivery %s meets one with other bounds or content: "+
		"blocks %d-%d, rows %d-%d, hash %x", target, t, e.First, e.Last, e.RowFrom, e.RowTo, e.Hash)
}

// Relation is how an entry stands to a token whose blocks overlap its own.
type Relation uint8

// The relations.
const (
	Apart     Relation = iota // it has nothing to do with the token
	Covers                    // the token's rows are in
	Crosses                   // it has other bounds
	Conflicts                 // it has other content
)

// Relation tells how e stands to t. e's blocks and t's overlap.
func (e *Entry) Relation(t record.Token) Relation {
	from, to := int64(t.RowFrom), int64(t.RowTo)
	sameBlocks := e.First == int64(t.First) && e.Last == int64(t.Last)
	switch {
	case sameBlocks && e.RowFrom == from && e.RowTo == to:
		if e.Hash == nil || string(e.Hash) == string(t.Hash[:]) {
			return Covers
		}
		return Conflicts
	case e.Hash == nil && e.RowTo == 0 && e.First <= int64(t.First) && int64(t.Last) <= e.Last:
		return Covers
	case sameBlocks && e.RowTo != 0 && to != 0:
		if e.Hash == nil && e.RowFrom <= from && to <= e.RowTo {
			return Covers
		}
		if e.RowTo <= from || to <= e.RowFrom {
			return Apart
		}
	}
	return Crosses
}

// Is reports whether e is t's own entry.
func (e *Entry) Is(t record.Token) bool {
	return e.Hash != nil && e.First == int64(t.First) && e.Last == int64(t.Last) &&
		e.RowFrom == int64(t.RowFrom) && e.RowTo == int64(t.RowTo)
}

// Verdict is what the first Write of the entry's token said, or would say now: all rows that were
// not refused are there.
func (e *Entry) Verdict() (connector.Verdict, error) {
	var v connector.Verdict
	if e.Rejected != nil {
		if err := json.Unmarshal([]byte(*e.Rejected), &v.Rejected); err != nil {
			return v, fault.New(fault.Corrupt, "read refused rows of blocks %d-%d: %w",
				e.First, e.Last, err)
		}
	}
	v.Present = e.Rows - int64(len(v.Rejected))
	return v, nil
}

// Mergeable returns the groups of neighbours to merge: entries without refused rows, beyond the
// newest keep. There are none before twice as many have come together, so that the work is rare.
func Mergeable(entries []Entry, keep int) [][]Entry {
	whole := 0
	for _, e := range entries {
		if e.Hash != nil {
			whole++
		}
	}
	if whole <= 2*keep {
		return nil
	}
	slices.SortFunc(entries, func(a, b Entry) int { // newest first, merged ones last
		return cmp.Or(-cmp.Compare(min(len(a.Hash), 1), min(len(b.Hash), 1)),
			-cmp.Compare(a.At, b.At), -cmp.Compare(a.First, b.First))
	})
	old := slices.DeleteFunc(slices.Clone(entries[keep:]), func(e Entry) bool {
		return e.Rejected != nil
	})
	slices.SortFunc(old, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.RowFrom, b.RowFrom))
	})
	var groups [][]Entry
	for i, e := range old {
		if i > 0 && old[i-1].adjoins(e) {
			groups[len(groups)-1] = append(groups[len(groups)-1], e)
			continue
		}
		groups = append(groups, []Entry{e})
	}
	return slices.DeleteFunc(groups, func(g []Entry) bool { return len(g) == 1 && g[0].Hash == nil })
}

// adjoins reports whether next follows e without a hole.
func (e Entry) adjoins(next Entry) bool {
	if e.RowTo == 0 && next.RowTo == 0 {
		return next.First == e.Last+1
	}
	return e.First == next.First && e.Last == next.Last && e.RowTo != 0 && e.RowTo == next.RowFrom
}

// Fold makes one entry of neighbours.
func Fold(group []Entry) Entry {
	out := group[0]
	out.Hash = nil
	for _, e := range group[1:] {
		out.Last, out.RowTo = e.Last, e.RowTo
		out.Rows += e.Rows
		out.Present += e.Present
		out.At = max(out.At, e.At)
	}
	return out
}
