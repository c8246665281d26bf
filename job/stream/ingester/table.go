package ingester

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/balance"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Table is where rows go. It has the rows of the spool if it was empty before the first one was written, and took them all.
type Table struct {
	// Sink is the name of the sink that writes into it.
	Sink string
	// Place identifies the table, so that it is noticed when the configuration names another one.
	Place string
	// Empty asks whether the table has no rows; nil if that can't be asked.
	Empty func(ctx context.Context) (bool, error)
}

// meeting is in which state the table was met, in a life of the store. In another life it may have rows that the store does
// not know.
type meeting struct {
	Lineage string `json:"lineage"`
	Place   string `json:"place"`
	Empty   bool   `json:"empty"`
}

// met is what is known about the table.
type met struct {
	asking sync.Mutex // is held while the table is asked

	mu    sync.Mutex // guards what is below
	known bool
	empty bool
}

func (m *met) is(known, empty bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.empty = known, empty
}

func (m *met) isKnown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// alone reports whether the table is known to have no rows but ours.
func (m *met) alone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known && m.empty
}

func keyTable() store.Key { return store.Job.K().Str("stream/table") }

// readTable reads how the table was met.
func (in *Source) readTable() error {
	var m meeting
	err := in.store.Latest(func(r store.Reader) error {
		text, ok, err := r.Get(keyTable())
		if err != nil || !ok {
			return err
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return fault.New(fault.Corrupt, "read how the table was met: %w", err)
		}
		return nil
	})
	if m.Lineage == in.store.Lineage().String() && m.Place == in.cfg.Table.Place {
		in.met.is(true, m.Empty)
	}
	return err
}

// Meet asks whether the table is empty, once in a life of the store. It is to be called before the first row is written:
// the answer is durable when it returns.
func (in *Source) Meet(ctx context.Context) error {
	in.met.asking.Lock()
	defer in.met.asking.Unlock()
	if in.met.isKnown() {
		return nil
	}
	empty, err := in.emptyTable(ctx)
	if err != nil {
		return fmt.Errorf("look whether the table is empty: %w", err)
	}
	text, err := json.Marshal(meeting{in.store.Lineage().String(), in.cfg.Table.Place, empty})
	if err != nil {
		return err
	}
	err = in.store.Update(func(tx *store.Tx) error { tx.Set(keyTable(), text); return nil })
	if err == nil {
		in.met.is(true, empty)
	}
	return err
}

// emptyTable reports whether the table is empty, and nothing was written that should be there. One that can't be read is not.
func (in *Source) emptyTable(ctx context.Context) (bool, error) {
	brought, err := in.brought()
	if err != nil || brought || in.cfg.Table.Empty == nil {
		return false, err
	}
	empty, err := in.cfg.Table.Empty(ctx)
	switch fault.KindOf(err) {
	case fault.Permanent, fault.Credentials, fault.Invalid, fault.NotFound:
		return false, nil
	}
	return empty && err == nil, err
}

// brought reports whether the sink was done with rows before the table was met.
func (in *Source) brought() (yes bool, err error) {
	err = in.store.Latest(func(r store.Reader) error {
		names, err := store.NamesOf(r, store.SinkName)
		if err != nil {
			return err
		}
		id, ok := names[in.cfg.Table.Sink]
		if !ok {
			return nil
		}
		f, err := balance.ReadFlow(r, id)
		yes = f.Delivered+f.Dead+f.Discarded+f.Expired > 0
		return err
	})
	return yes, err
}

// OnLack is the part of a delivery's commit that notes that a sink does not have all rows of blocks. Their windows stay
// marked, whatever becomes of the rows: a dead letter that is tried again stands in a block of its own.
func (in *Source) OnLack(tx *store.Tx, sink string, blocks []uint64) error {
	if sink != in.cfg.Table.Sink {
		return nil
	}
	return in.book.within(tx, func(tx *store.Tx) error {
		for _, w := range in.book.near {
			if !w.Lacking && w.hasOneOf(blocks) {
				w.Lacking = true
				in.book.put(tx, w)
			}
		}
		return nil
	})
}

// hasOneOf reports whether one of these blocks may hold rows of the window.
func (w *window) hasOneOf(blocks []uint64) bool {
	for _, seq := range blocks {
		if w.First > 0 && w.First <= seq && seq <= w.Last {
			return true
		}
	}
	return false
}

// keys holds hashes of the keys of a window's rows, to find out whether one comes twice, in which case the table has it once.
// If two keys have the same hash, that costs a question to the database.
type keys struct {
	columns  []string
	from, to time.Time
	seed     maphash.Seed
	seen     map[uint64]struct{}
	text     []byte
}

// newKeys makes keys for a window of about so many rows.
func newKeys(columns []string, from, to time.Time, rows int) *keys {
	return &keys{columns: columns, from: from, to: to, seed: maphash.MakeSeed(),
		seen: make(map[uint64]struct{}, min(rows, 1<<20))}
}

// add adds the rows of a block that belong to the window. It returns false if a key was there before, or can't be read.
func (k *keys) add(b arrow.RecordBatch) bool {
	once := true
	ok := k.each(b, func(at time.Time, hash uint64) bool {
		if at.Before(k.from) || !at.Before(k.to) {
			return true
		}
		n := len(k.seen)
		k.seen[hash] = struct{}{}
		once = len(k.seen) > n
		return once
	})
	return ok && once
}

// count adds the rows of a block that are of the window, whether their keys were there before or not. It is false if they can't
// be read.
func (k *keys) count(b arrow.RecordBatch) bool {
	return k.each(b, func(at time.Time, hash uint64) bool {
		if !at.Before(k.from) && at.Before(k.to) {
			k.seen[hash] = struct{}{}
		}
		return true
	})
}

// each calls yield for the key of each row until that is false. It is false if the keys can't be read.
func (k *keys) each(b arrow.RecordBatch, yield func(at time.Time, hash uint64) bool) bool {
	s, err := record.SchemaOf(b.Schema())
	if err != nil {
		return false
	}
	at, ok := record.EventTimes(s, b)
	if !ok {
		return false
	}
	var tags []arrow.Array
	for _, name := range k.columns {
		i := b.Schema().FieldIndices(name)
		if len(i) != 1 {
			return false
		}
		tags = append(tags, b.Column(i[0]))
	}
	for row := range int(b.NumRows()) {
		if !yield(at(row), k.hash(at(row), tags, row)) {
			break
		}
	}
	return true
}

// hash is that of the key of a row. A database may keep no more than microseconds of its time, and no difference between no
// text and an empty one.
func (k *keys) hash(at time.Time, tags []arrow.Array, row int) uint64 {
	k.text = binary.BigEndian.AppendUint64(k.text[:0], uint64(at.UnixMicro()))
	for _, c := range tags {
		text := textOf(c, row)
		k.text = append(binary.AppendUvarint(k.text, uint64(len(text))), text...)
	}
	return maphash.Bytes(k.seed, k.text)
}

func textOf(c arrow.Array, row int) string {
	texts, ok := c.(*array.String)
	switch {
	case !c.IsValid(row):
		return ""
	case ok:
		return texts.Value(row)
	}
	return c.ValueStr(row)
}

// CountKeys counts the rows that came and are in the spool still, and how many of their keys are different ones. Those of blocks
// that can't be read are not counted. Rows that were edited and tried again have keys, too.
func CountKeys(r store.Reader, columns []string) (rows, different int64, err error) {
	stats, err := spool.ReadStats(r)
	if err != nil {
		return 0, 0, err
	}
	k := newKeys(columns, time.Time{}, time.Time{}, 0)
	var all []uint64
	for seq := stats.First; seq < stats.Next; seq++ {
		head, b, err := spool.Read(r, seq)
		if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Corrupt) {
			continue
		} else if err != nil {
			return 0, 0, err
		}
		n := len(all)
		k.each(b, func(_ time.Time, hash uint64) bool { all = append(all, hash); return true })
		if head.Only == 0 && !head.Copy {
			rows += int64(len(all) - n)
		}
	}
	slices.Sort(all)
	return rows, int64(len(slices.Compact(all))), nil
}
