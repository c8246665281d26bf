package spool

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store"
)

type rowsOf = arrow.RecordBatch

// plan is a delivery whose bounds are fixed: which blocks, cut into which parts. It has one part until
// a sink refuses it; then parts are halved until the poison rows stand alone.
type plan struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Rows  int    `json:"rows"`
	Bytes int64  `json:"bytes"`
	Hash  []byte `json:"hash"` // over the blocks' content hashes
	// Lineage is that of the store when it planned. Another life of the store may cut the same blocks
	// into other deliveries; its tokens must not be taken for these.
	Lineage string    `json:"lineage"`
	At      time.Time `json:"at"` // of the first attempt
	ByKey   bool      `json:"by_key,omitempty"`
	KeyHi   uint64    `json:"key_hi"` // highest key, for a plan that is given up
	Parts   []part    `json:"parts"`

	durable bool
}

type part struct {
	From int  `json:"from"` // first row
	To   int  `json:"to"`   // one past the last row
	Done bool `json:"done,omitempty"`

	busy  bool // given to the caller
	tried bool // an attempt may have been made
}

// plan plans the blocks of heads as one delivery and reads its rows. A block that can't be read
// ends the plan before it, or stands alone as damage.
func (k *Sink) plan(r store.Reader, heads []Head) (*Delivery, error) {
	rows, heads, damage, err := readRows(r, heads)
	if err != nil {
		return nil, err
	}
	p := &plan{First: heads[0].Seq, Last: heads[len(heads)-1].Seq}
	sum := sha256.New()
	for _, h := range heads {
		p.Rows += int(h.Rows)
		p.Bytes += int64(h.Bytes)
		p.KeyHi = max(p.KeyHi, h.KeyHi)
		p.ByKey = p.ByKey || k.Suspects(h)
		sum.Write(h.Hash[:])
	}
	p.Hash, p.Lineage = sum.Sum(nil)[:16], k.s.st.Lineage().String()
	p.Parts = []part{{To: p.Rows, busy: true}}
	return k.delivery(p, 0, heads, rows, damage)
}

// readRows reads the blocks' rows; a damaged block behind good ones is left for a later plan. err speaks
// of the store: nothing is known of the blocks then.
func readRows(r store.Reader, heads []Head) (rows arrow.RecordBatch, got []Head, damage, err error) {
	var parts []arrow.RecordBatch
	for _, h := range heads {
		own, rows, err := Read(r, h.Seq)
		if isBad(err) && len(got) == 0 {
			return nil, []Head{h}, err, nil
		}
		if isBad(err) {
			break
		}
		if err != nil {
			return nil, nil, nil, err
		}
		parts, got = append(parts, rows), append(got, own)
	}
	rows, err = record.Concat(parts[0].Schema(), parts)
	if err != nil {
		return nil, got[:1], fault.As(fault.Corrupt, err), nil
	}
	return rows, got, nil, nil
}

// readPart reads a plan that stands in the store again. If a block of it became unreadable since, the
// plan can't be repeated to the byte: it is given up, and its blocks are planned anew, by key.
func (k *Sink) readPart(r store.Reader, p *plan, i int) (*Delivery, error) {
	if k.open.p == p {
		return k.delivery(p, i, k.open.heads, k.open.rows, nil)
	}
	k.open = decoded{}
	var heads []Head
	for seq := p.First; seq <= p.Last; seq++ {
		h, err := readHeadAt(r, seq)
		if isBad(err) {
			return k.delivery(p, i, []Head{h}, nil, err)
		}
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	rows, got, damage, err := readRows(r, heads)
	if err != nil {
		return nil, err
	}
	if damage == nil && len(got) < len(heads) {
		damage = fault.New(fault.Corrupt, "block %d can't be read", heads[len(got)].Seq)
		got = heads[len(got) : len(got)+1]
	}
	if damage != nil {
		return k.delivery(p, i, got, nil, damage)
	}
	k.open = decoded{p, heads, rows}
	return k.delivery(p, i, heads, rows, nil)
}

func (k *Sink) delivery(p *plan, i int, heads []Head, rows arrow.RecordBatch, damage error) (*Delivery,
	error) {
	k.mu.Lock()
	pt := p.Parts[i]
	k.mu.Unlock()
	d := &Delivery{Heads: heads, FirstAttempt: p.At, Unknown: pt.tried, ByKey: p.ByKey,
		RowFrom: pt.From, Damage: damage, p: p, i: i}
	if damage != nil {
		return d, nil
	}
	var err error
	if d.Schema, err = record.SchemaOf(rows.Schema()); err != nil {
		return nil, fault.As(fault.Corrupt, err)
	}
	lineage, err := record.ParseLineage(p.Lineage)
	if err != nil {
		return nil, fault.As(fault.Corrupt, err)
	}
	d.Token = record.Token{Job: k.s.job, Lineage: lineage, First: p.First, Last: p.Last,
		Hash: record.Hash(p.Hash)}
	d.Rows = rows
	if pt.From > 0 || pt.To < p.Rows {
		d.Token.RowFrom, d.Token.RowTo = uint32(pt.From), uint32(pt.To)
		d.Rows = rows.NewSlice(int64(pt.From), int64(pt.To))
	}
	return d, nil
}

// Whole reports whether the delivery is all of its plan, and readable.
func (d *Delivery) Whole() bool { return d.Damage == nil && d.Token.RowTo == 0 }

// At returns the block and the row within it of row i of the delivery.
func (d *Delivery) At(i int) (seq uint64, row uint32) {
	i += d.RowFrom
	for _, h := range d.Heads {
		if i < int(h.Rows) {
			return h.Seq, uint32(i)
		}
		i -= int(h.Rows)
	}
	return 0, 0
}

// Release gives a delivery back whose outcome is not known; Next returns it again.
func (k *Sink) Release(d *Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.Damage == nil {
		d.p.Parts[d.i].busy, d.p.Parts[d.i].tried = false, true
		k.changedLocked()
	}
}

// Settle says that the sink is done with the delivery's rows: they are in it, or in the dead letters by
// this transaction. It returns the size of the blocks that became done with it.
func (k *Sink) Settle(tx *store.Tx, d *Delivery) (bytes int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := d.p
	left := 0
	for i, pt := range p.Parts {
		if i != d.i && !pt.Done {
			left++
		}
	}
	if left > 0 {
		next := *p
		next.Parts = slices.Clone(p.Parts)
		next.Parts[d.i].Done = true
		next.Parts = joinDone(next.Parts)
		tx.OnDurable(func() { k.update(func() { p.Parts = next.Parts }) })
		return 0, putJSON(tx, planKey(k.ID, p.First), next)
	}
	tx.Delete(planKey(k.ID, p.First))
	return p.Bytes, k.settle(tx, p.First, p.Last, func() { delete(k.plans, p.First) })
}

// joinDone makes one of done parts that lie side by side: a plan of many refused rows stays small.
func joinDone(parts []part) []part {
	out := parts[:0]
	for _, pt := range parts {
		if n := len(out); n > 0 && out[n-1].Done && pt.Done {
			out[n-1].To = pt.To
			continue
		}
		out = append(out, pt)
	}
	return out
}

// Lost is what a forfeited delivery takes with it.
type Lost struct {
	Rows  int64
	Bytes int64
	Heads []Head // of the blocks; without key range where even the head can't be read
}

// Forfeit settles a block that can't be read. If it was part of a plan, the plan is given up and its
// other blocks are planned anew, compared by key, because an attempt may have brought their rows to
// the sink; but a plan of which some rows are counted already is forfeited with all that is left.
func (k *Sink) Forfeit(tx *store.Tx, d *Delivery) (Lost, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, head := d.p, d.Heads[0]
	lost := Lost{Rows: int64(head.Rows), Bytes: int64(head.Bytes), Heads: d.Heads[:1]}
	first, last := head.Seq, head.Seq
	if _, durable := k.plans[p.First]; durable {
		tx.Delete(planKey(k.ID, p.First))
		if len(p.Parts) > 1 {
			first, last, lost.Bytes, lost.Rows = p.First, p.Last, p.Bytes, 0
			for _, pt := range p.Parts {
				if !pt.Done {
					lost.Rows += int64(pt.To - pt.From)
				}
			}
		}
		st := k.state
		st.CheckTo, st.CheckAll = max(st.CheckTo, p.KeyHi), st.CheckAll || !head.HasKeys
		if err := putJSON(tx, sinkKey(k.ID), st); err != nil {
			return lost, err
		}
		tx.OnDurable(func() { k.update(func() { k.state = st }) })
	}
	return lost, k.settle(tx, first, last, func() { delete(k.plans, p.First) })
}

// settle joins [first, last] to the settled set; done runs with the set once it is durable.
func (k *Sink) settle(tx *store.Tx, first, last uint64, done func()) error {
	tx.OnDurable(func() {
		k.update(func() {
			k.settled.add(first, last)
			done()
		})
	})
	return settleRange(tx, k.ID, first, last)
}

func (k *Sink) update(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// Halve cuts a delivery that the sink refused into two, so that poison rows come to stand alone. A
// delivery of one row can't be cut.
func (k *Sink) Halve(d *Delivery) error {
	k.mu.Lock()
	next, pt := *d.p, d.p.Parts[d.i]
	mid := pt.From + (pt.To-pt.From)/2
	next.Parts = slices.Replace(slices.Clone(next.Parts), d.i, d.i+1,
		part{From: pt.From, To: mid}, part{From: mid, To: pt.To})
	k.mu.Unlock() // transactions of others take it inside the store's lock
	if pt.To-pt.From < 2 {
		return fmt.Errorf("halve delivery %s: it has one row", d.Token)
	}
	err := k.s.st.Update(func(tx *store.Tx) error { return putJSON(tx, planKey(k.ID, d.p.First), &next) })
	if err != nil {
		return fmt.Errorf("halve delivery %s: %w", d.Token, err)
	}
	k.update(func() {
		d.p.Parts = next.Parts
		k.changedLocked()
	})
	return nil
}

// Expire settles the oldest blocks that are in no delivery, until at least bytes are gone, and returns
// their heads for the gaps and the counters. It may run beside Next and what follows on it.
func (k *Sink) Expire(tx *store.Tx, bytes int64) ([]Head, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	taken, err := readSettled(tx, k.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range k.plans {
		taken.add(p.First, p.Last)
	}
	if k.given != (span{}) { // a plan that may not be durable yet, or damage on its way to Forfeit
		taken.add(k.given.first, k.given.last)
	}
	stats, err := ReadStats(tx)
	if err != nil {
		return nil, err
	}
	first := taken.nextGap(k.state.Begin)
	if first >= stats.Next {
		return nil, nil
	}
	last := taken.gapEnd(first, stats.Next-1)
	var out []Head
	for seq := first; seq <= last && bytes > 0; seq++ {
		h, err := readHeadAt(tx, seq)
		if err != nil && !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		bytes -= int64(h.Bytes)
		out = append(out, h)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, k.settle(tx, first, first+uint64(len(out))-1, func() {})
}
