package crash

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// model is the job's state as the transactions in the journal make it.
type model struct {
	N       uint64 // transactions that are in it
	Intake  [2]balance.Intake
	Cursor  [2]uint64
	Known   [2]uint64            // how many keys
	Recent  map[uint64]bool      // known keys that the store was not yet asked for
	Gaps    [2]int64             // open ones
	Blocks  map[uint64]block     // by sequence
	Gone    []block              // that were trimmed
	Next    uint64               // sequence of the next block
	Damaged map[uint64]bool      // blocks that we damaged
	Row     [2]map[uint64]byte   // a sink's rows, by key: one of the states below
	Home    [2]map[uint64]uint64 // the last block that brings a row that was retried
	Flow    [2]balance.Flow
	Letters map[uint64]letter
	Tasks   map[string]byte
}

// The states of rows and tasks.
const (
	pending   = 'p'
	delivered = 'd'
	dead      = 'x'
	discarded = 'c'
	expired   = 'e'
	done      = 'f'
)

func newModel() *model {
	return &model{Recent: map[uint64]bool{}, Blocks: map[uint64]block{}, Next: 1,
		Damaged: map[uint64]bool{}, Row: [2]map[uint64]byte{{}, {}}, Home: [2]map[uint64]uint64{{}, {}},
		Letters: map[uint64]letter{}, Tasks: map[string]byte{}}
}

// apply does what a transaction did. An error means that it must not have been possible.
func (m *model) apply(c change) error {
	switch c.Kind {
	case aPage:
		return m.page(c)
	case aSettle:
		for _, k := range c.Keys {
			if err := m.move(c.Of, k, pending, delivered); err != nil {
				return err
			}
		}
		for _, l := range c.Dead {
			if err := m.bury(l); err != nil {
				return err
			}
		}
		m.Flow[c.Of].PendingBytes -= c.Bytes
	case aExpiry, aForfeit:
		return m.expire(c)
	case aReplay:
		for _, k := range m.Blocks[c.Seqs[0]].Keys {
			if err := m.move(c.Of, k, delivered, pending); err != nil {
				return err
			}
		}
		m.Flow[c.Of].PendingBytes += c.Bytes
	case aRetry, aDiscard:
		return m.exhume(c)
	case aDamage:
		m.Damaged[c.Seqs[0]] = true
	case aNote:
	default:
		return m.task(c)
	}
	return nil
}

func (m *model) page(c change) error {
	in := &m.Intake[c.Of]
	in.Read += c.Intake.Read
	in.Accepted += c.Intake.Accepted
	in.Duplicate += c.Intake.Duplicate
	in.Filtered += c.Intake.Filtered
	in.Rejected += c.Intake.Rejected
	m.Cursor[c.Of] = c.Cursor
	m.Known[c.Of] += uint64(len(c.Known))
	m.Gaps[c.Of] += c.Gaps
	for _, k := range c.Known {
		m.Recent[k] = true
	}
	for _, l := range c.Dead {
		m.Letters[l.ID] = l
	}
	for _, b := range c.Blocks {
		if err := m.grow(b); err != nil {
			return err
		}
		for s := range m.Row {
			for _, k := range b.Keys {
				if m.Row[s][k] != 0 {
					return fmt.Errorf("row %d was taken in twice", k)
				}
				m.Row[s][k] = pending
			}
			m.Flow[s].Accepted += int64(len(b.Keys))
			m.Flow[s].Pending += int64(len(b.Keys))
			m.Flow[s].PendingBytes += b.Bytes
		}
	}
	return nil
}

func (m *model) grow(b block) error {
	if b.Seq != m.Next {
		return fmt.Errorf("block %d came behind block %d", b.Seq, m.Next-1)
	}
	m.Next++
	m.Blocks[b.Seq] = b
	return nil
}

// move brings a row of a sink from one state to another, and counts.
func (m *model) move(sink int, key uint64, from, to byte) error {
	if was := m.Row[sink][key]; was != from {
		return fmt.Errorf("row %d of sink %d became %q and was %q, not %q", key, sink, to, was, from)
	}
	m.Row[sink][key] = to
	*m.term(sink, from)--
	*m.term(sink, to)++
	return nil
}

func (m *model) term(sink int, state byte) *int64 {
	f := &m.Flow[sink]
	return map[byte]*int64{pending: &f.Pending, delivered: &f.Delivered, dead: &f.Dead,
		discarded: &f.Discarded, expired: &f.Expired}[state]
}

func (m *model) bury(l letter) error {
	m.Letters[l.ID] = l
	return m.move(l.Sink, l.Key, pending, dead)
}

// expire lets all rows go that are pending in blocks, or in some rows of one: at once, or after damage.
func (m *model) expire(c change) error {
	rows := int64(0)
	for _, seq := range c.Seqs {
		keys := m.Blocks[seq].Keys
		if c.To > 0 {
			keys = keys[c.From:c.To]
		}
		for _, k := range keys {
			home, retried := m.Home[c.Of][k]
			if m.Row[c.Of][k] != pending || retried && home != seq {
				continue
			}
			rows++
			if err := m.move(c.Of, k, pending, expired); err != nil {
				return err
			}
		}
	}
	m.Flow[c.Of].PendingBytes -= c.Bytes
	if rows != c.Rows {
		return fmt.Errorf("%s of blocks %v took %d rows of sink %d, and %d were pending", c.Kind, c.Seqs,
			c.Rows, c.Of, rows)
	}
	return nil
}

// exhume retries or discards a dead letter.
func (m *model) exhume(c change) error {
	l := c.Dead[0]
	if m.Letters[l.ID] != l {
		return fmt.Errorf("dead letter %d was there twice", l.ID)
	}
	delete(m.Letters, l.ID)
	switch {
	case l.Sink < 0:
		return nil
	case c.Kind == aDiscard:
		return m.move(l.Sink, l.Key, dead, discarded)
	}
	m.Home[l.Sink][l.Key] = c.Blocks[0].Seq
	m.Flow[l.Sink].PendingBytes += c.Blocks[0].Bytes
	return errors.Join(m.grow(c.Blocks[0]), m.move(l.Sink, l.Key, dead, pending))
}

// advance applies what the journal holds behind the model's state.
func (m *model) advance(r store.Reader, w *witness) error {
	n, err := readJournal(r)
	if err != nil {
		return err
	}
	switch {
	case n < w.acked:
		return fmt.Errorf("transaction %d was acknowledged, and the journal ends at %d", w.acked, n)
	case n < w.shown:
		return fmt.Errorf("transaction %d was shown, and the journal ends at %d", w.shown, n)
	}
	for i := m.N + 1; i <= n; i++ {
		id, ok, err := r.Get(entryKey(i))
		if err != nil || !ok || len(id) != 8 {
			return fmt.Errorf("transaction %d is missing, and %d is there (%v)", i, n, err)
		}
		c, ok := w.tries[i]
		if !ok || c.ID != binary.BigEndian.Uint64(id) {
			return fmt.Errorf("transaction %d is %x, want %x (%s)", i, id, c.ID, c.Kind)
		}
		if err := m.apply(c); err != nil {
			return fmt.Errorf("transaction %d (%s): %w", i, c.Kind, err)
		}
	}
	m.N = n
	if n > keptEntries {
		w.pruned = n - keptEntries
	}
	clear(w.tries)
	w.acked, w.shown = n, n
	return nil
}

// compare holds the store against the model.
func (m *model) compare(r store.Reader, w *witness) error {
	b, err := engine.ReadBooks(r, jobName)
	if err != nil {
		return fmt.Errorf("read books: %w", err)
	}
	if !b.Balanced() {
		return fmt.Errorf("the laws do not hold: %v", b.Broken)
	}
	return errors.Join(m.compareSources(r), m.compareSinks(r), m.compareSpool(r, w), m.compareLetters(r))
}

func (m *model) compareSources(r store.Reader) error {
	ids, err := store.NamesOf(r, store.SourceName)
	if err != nil {
		return err
	}
	for s, name := range sourceNames {
		id, there := ids[name]
		if !there && m.N == 0 {
			continue
		}
		in, err := balance.ReadIntake(r, id)
		if err != nil || in != m.Intake[s] {
			return fmt.Errorf("source %s: got %+v, want %+v (%v)", name, in, m.Intake[s], err)
		}
		c, err := spool.Cursor(r, id)
		if got := cursorOf(c); err != nil || got != m.Cursor[s] {
			return fmt.Errorf("source %s: cursor is %d, want %d (%v)", name, got, m.Cursor[s], err)
		}
		t, err := balance.ReadGapTotals(r, id)
		if err != nil || t.Open != m.Gaps[s] {
			return fmt.Errorf("source %s: %d open gaps, want %d (%v)", name, t.Open, m.Gaps[s], err)
		}
	}
	return nil
}

// compareKnown asks the sets of known keys, which can be opened only in a live store.
func (m *model) compareKnown(r store.Reader, known [2]*identity.Set) error {
	for s, set := range known {
		n, err := set.Total(r)
		if err != nil || n != m.Known[s] {
			return fmt.Errorf("source %d: %d keys are known, want %d (%v)", s, n, m.Known[s], err)
		}
	}
	for k := range m.Recent {
		if ok, err := known[k>>32].Has(r, k); err != nil || !ok {
			return fmt.Errorf("key %d is not known any more (%v)", k, err)
		}
	}
	clear(m.Recent)
	return nil
}

func (m *model) compareSinks(r store.Reader) error {
	ids, err := store.NamesOf(r, store.SinkName)
	if err != nil {
		return err
	}
	for s, name := range sinkNames {
		id, there := ids[name]
		if !there && m.N == 0 {
			continue
		}
		f, err := balance.ReadFlow(r, id)
		if err != nil || f != m.Flow[s] {
			return fmt.Errorf("sink %s: got %+v, want %+v (%v)", name, f, m.Flow[s], err)
		}
		p, err := spool.Pending(r, id)
		if err != nil || p.Rows != f.Pending || p.Bytes != f.PendingBytes {
			return fmt.Errorf("sink %s: %d rows, %d bytes pending by a recount, want %d, %d (%v)", name, p.Rows,
				p.Bytes, f.Pending, f.PendingBytes, err)
		}
	}
	return nil
}

func (m *model) compareSpool(r store.Reader, w *witness) error {
	stats, err := spool.ReadStats(r)
	if err != nil {
		return err
	}
	if stats.Next != m.Next || stats.Next <= w.tail {
		return fmt.Errorf("spool ends before block %d, want %d; readers were told of %d", stats.Next, m.Next,
			w.tail)
	}
	var rows, bytes int64
	for _, seq := range slices.Sorted(maps.Keys(m.Blocks)) {
		b := m.Blocks[seq]
		if seq < stats.First {
			if err := m.trimmed(b); err != nil {
				return err
			}
			m.Gone = append(m.Gone, b)
			delete(m.Blocks, seq)
			continue
		}
		rows, bytes = rows+int64(len(b.Keys)), bytes+b.Bytes
		h, got, err := spool.Read(r, seq)
		if m.Damaged[seq] && fault.Is(err, fault.Corrupt) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		if keys, _ := record.Keys(schema, got); !slices.Equal(keys, b.Keys) || int64(h.Bytes) != b.Bytes ||
			digest(got) != digest(rowsOf(b.Keys, b.Bulk)) {
			return fmt.Errorf("block %d holds %v, want %v", seq, keys, b.Keys)
		}
	}
	if int64(stats.Rows) != rows || int64(stats.Bytes) != bytes || stats.Blocks != stats.Next-stats.First {
		return fmt.Errorf("spool says %+v, and holds %d rows, %d bytes", stats, rows, bytes)
	}
	return nil
}

// trimmed checks that nobody needed a block that is gone.
func (m *model) trimmed(b block) error {
	for s := range m.Row {
		if b.Only != 0 && b.Only != s+1 {
			continue
		}
		for _, k := range b.Keys {
			if m.Row[s][k] == pending && m.inLater(b, k) == 0 {
				return fmt.Errorf("block %d is gone, and sink %d has not got its row %d", b.Seq, s, k)
			}
		}
	}
	return nil
}

// inLater returns the block behind b in which a row stands that was retried, 0 for none.
func (m *model) inLater(b block, key uint64) uint64 {
	for seq, l := range m.Blocks {
		if seq > b.Seq && slices.Contains(l.Keys, key) {
			return seq
		}
	}
	return 0
}

func (m *model) compareLetters(r store.Reader) error {
	var all []balance.DeadLetter
	err := balance.EachDead(r, func(d balance.DeadLetter) error { all = append(all, d); return nil })
	if err != nil {
		return err
	}
	ids := make([]uint64, len(all))
	for i, d := range all {
		ids[i] = d.ID
	}
	if want := slices.Sorted(maps.Keys(m.Letters)); !slices.Equal(ids, want) {
		return fmt.Errorf("dead letters are %v, want %v", ids, want)
	}
	if n, err := balance.Letters(r); err != nil || n != int64(len(all)) {
		return fmt.Errorf("the counter says %d dead letters (%v), there are %d", n, err, len(all))
	}
	for _, d := range all {
		if want := fmt.Sprint(m.Letters[d.ID].Key); d.Key != want {
			return fmt.Errorf("dead letter %d is of row %s, want %s", d.ID, d.Key, want)
		}
	}
	return nil
}

// finished checks the end: every row that was accepted is where the books say, once.
func (m *model) finished(w *witness) error {
	for s, o := range w.sinks {
		for _, k := range slices.SortedFunc(maps.Keys(m.Row[s]), cmp.Compare) {
			_, there := o.Rows[k]
			switch state := m.Row[s][k]; {
			case state == delivered && !there:
				return fmt.Errorf("row %d counts as delivered, and sink %d has not got it", k, s)
			case state == pending, (state == dead || state == discarded) && there:
				return fmt.Errorf("row %d of sink %d is %q in the end (in the sink: %v)", k, s, state, there)
			}
		}
	}
	return nil
}

// forget lets go of rows that can't come again, so that a long campaign does not grow: those of blocks
// that are gone, unless they are dead letters or stand in a later block.
func (w *witness) forget() {
	m := w.model
	alive := map[uint64]bool{}
	for _, l := range m.Letters {
		alive[l.Key] = true
	}
	for _, b := range m.Blocks {
		for _, k := range b.Keys {
			alive[k] = true
		}
	}
	for _, b := range m.Gone {
		for _, k := range b.Keys {
			if alive[k] {
				continue
			}
			for s := range m.Row {
				delete(m.Row[s], k)
			}
			for _, o := range w.sinks {
				o.forget(k)
			}
		}
	}
	m.Gone = nil
}
