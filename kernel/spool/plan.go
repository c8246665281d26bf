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
	return k.delivery(p, 0, decoded{heads: heads, rows: rows}, damage)
}

// readRows reads the blocks' rows; a damaged block behind good ones is left for a later plan. err speaks
// of the store: nothing is known of the blocks then.
func readRows(r store.Reader, heads []Head) (rows arrow.RecordBatch, got []Head, damage, err error) {
	arena := record.NewArena()
	defer arena.Release()
	var parts []arrow.RecordBatch
	for _, h := range heads {
		own, rows, err := read(r, h.Seq, func(p []byte, _ record.Hash) (arrow.RecordBatch, error) {
			return arena.Unpack(p)
		})
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
	rows, err = arena.Join(parts[0].Schema(), parts)
	if err != nil {
		return nil, got[:1], fault.As(fault.Corrupt, err), nil
	}
	return rows, got, nil, nil
}

// readPart reads a plan that stands in the store again. If a block of it became unreadable since, the
// plan can't be repeated to the byte: a whole one is given up, and its blocks are planned anew, by key; of
// one in parts, only the rows of that block are given up.
func (k *Sink) readPart(r store.Reader, p *plan, i int) (*Delivery, error) {
	if k.open.p == p {
		return k.delivery(p, i, k.open, nil)
	}
	k.open = decoded{}
	var heads []Head
	rows := 0
	for seq := p.First; seq <= p.Last; seq++ {
		h, err := readHeadAt(r, seq)
		if isBad(err) {
			return k.delivery(p, i, decoded{heads: []Head{h}}, err)
		}
		if err != nil {
			return nil, err
		}
		rows += int(h.Rows)
		heads = append(heads, h)
	}
	got, damage, err := readAll(r, heads)
	switch {
	case err != nil:
		return nil, err
	case damage != nil && len(p.Parts) > 1 && rows == p.Rows:
		return k.readWithin(r, p, i, heads)
	case damage == nil:
		got.p, k.open = p, got
	}
	return k.delivery(p, i, got, damage)
}

// readAll is readRows for blocks that are wanted together: one that can't be read stands alone.
func readAll(r store.Reader, heads []Head) (got decoded, damage, err error) {
	got.rows, got.heads, damage, err = readRows(r, heads)
	if n := len(got.heads); err == nil && damage == nil && n < len(heads) {
		damage = fault.New(fault.Corrupt, "block %d can't be read", heads[n].Seq)
		got.heads = heads[n : n+1]
	}
	return got, damage, err
}

// readWithin reads a part of a plan from the blocks that it lies in: one of the others can't be read.
func (k *Sink) readWithin(r store.Reader, p *plan, i int, heads []Head) (*Delivery, error) {
	k.mu.Lock()
	pt := p.Parts[i]
	k.mu.Unlock()
	begin := map[uint64]int{} // the first row of each block
	var within []Head
	at := 0
	for _, h := range heads {
		begin[h.Seq] = at
		if at < pt.To && at+int(h.Rows) > pt.From {
			within = append(within, h)
		}
		at += int(h.Rows)
	}
	got, damage, err := readAll(r, within)
	if err != nil {
		return nil, err
	}
	got.from = begin[got.heads[0].Seq]
	d, err := k.delivery(p, i, got, damage)
	if err == nil && damage != nil {
		d.cut = &cut{block: got.from, from: max(pt.From, got.from),
			to: min(pt.To, got.from+int(got.heads[0].Rows))}
	}
	return d, err
}

// cut is what a plan in parts loses of a part with a block that can't be read: rows of the plan.
type cut struct {
	block    int // where the block begins
	from, to int
}

func (k *Sink) delivery(p *plan, i int, got decoded, damage error) (*Delivery, error) {
	k.mu.Lock()
	pt, byKey := p.Parts[i], p.ByKey
	k.mu.Unlock()
	d := &Delivery{Heads: got.heads, FirstAttempt: p.At, Unknown: pt.tried, ByKey: byKey,
		RowFrom: pt.From - got.from, Damage: damage, p: p, i: i}
	if damage != nil {
		return d, nil
	}
	rows := got.rows
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
		d.Rows = rows.NewSlice(int64(pt.From-got.from), int64(pt.To-got.from))
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
	Bytes int64  // of the blocks that became done with it
	Heads []Head // of the blocks; without key range where even the head can't be read
	// From and To are the rows of the block that are lost, if only a part of a plan was to bring them.
	From, To int
}

// Forfeit settles a block that can't be read. If it was part of a plan, an attempt may have brought the
// rows around it to the sink, and they are compared by key: a whole plan is given up and its other blocks
// are planned anew; one of which some rows are counted already loses the rows of the block in this part,
// or all that is left if it is not known which these are, because the head is lost as well.
func (k *Sink) Forfeit(tx *store.Tx, d *Delivery) (Lost, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, head := d.p, d.Heads[0]
	lost := Lost{Rows: int64(head.Rows), Bytes: int64(head.Bytes), Heads: d.Heads[:1]}
	if _, durable := k.plans[p.First]; !durable {
		return lost, k.settle(tx, head.Seq, head.Seq, func() {})
	}
	err := k.change(tx, func(st *SinkState) {
		st.CheckTo, st.CheckAll = max(st.CheckTo, p.KeyHi), st.CheckAll || !head.HasKeys
	})
	if err != nil {
		return lost, err
	}
	if c := d.cut; c != nil {
		lost.Rows, lost.From, lost.To = int64(c.to-c.from), c.from-c.block, c.to-c.block
		lost.Bytes, err = k.cutOut(tx, p, d.i, *c)
		return lost, err
	}
	first, last := head.Seq, head.Seq
	if len(p.Parts) > 1 {
		first, last, lost.Bytes, lost.Rows = p.First, p.Last, p.Bytes, 0
		for _, pt := range p.Parts {
			if !pt.Done {
				lost.Rows += int64(pt.To - pt.From)
			}
		}
	}
	tx.Delete(planKey(k.ID, p.First))
	return lost, k.settle(tx, first, last, func() { delete(k.plans, p.First) })
}

// cutOut makes rows of a part of a plan done with, and leaves what is before and behind them as parts. It
// returns the size of the blocks if nothing is left of the plan. It is called with mu held.
func (k *Sink) cutOut(tx *store.Tx, p *plan, i int, c cut) (bytes int64, err error) {
	whole := p.Parts[i]
	whole.busy = false
	parts := slices.Clone(p.Parts[:i])
	if before := whole; before.From < c.from {
		before.To = c.from
		parts = append(parts, before)
	}
	parts = append(parts, part{From: c.from, To: c.to, Done: true})
	if behind := whole; c.to < behind.To {
		behind.From = c.to
		parts = append(parts, behind)
	}
	next := *p
	next.ByKey, next.Parts = true, joinDone(append(parts, p.Parts[i+1:]...))
	if len(next.Parts) > 1 || !next.Parts[0].Done {
		tx.OnDurable(func() { k.update(func() { p.ByKey, p.Parts = true, next.Parts }) })
		return 0, putJSON(tx, planKey(k.ID, p.First), next)
	}
	tx.Delete(planKey(k.ID, p.First))
	return p.Bytes, k.settle(tx, p.First, p.Last, func() { delete(k.plans, p.First) })
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
func (k *Sink) Expire(tx *store.Tx, bytes int64) ([]Head, error) { return k.expire(tx, tx, bytes) }

func (k *Sink) expire(tx *store.Tx, r store.Reader, bytes int64) ([]Head, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	taken, err := readSettled(tx, k.ID)
	if err != nil {
		return nil, err
	}
	for _, s := range k.onItsWayLocked() {
		taken.add(s.first, s.last)
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
		h, err := readHeadAt(r, seq)
		if err != nil && !isBad(err) { // it speaks of the store: the block may be whole
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
