package ingester

import (
	"sort"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// spooled reads blocks of the spool. It keeps the block that it read last, because many small windows stand in one.
type spooled struct {
	mu   sync.Mutex // guards what is below
	last *block
}

// block is a block as it was read. It does not change.
type block struct {
	spool.Head
	rows   arrow.RecordBatch
	at     func(row int) time.Time
	sorted bool // by that
}

// read returns a block, with the errors of spool.Read.
func (s *spooled) read(r store.Reader, seq uint64) (*block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && s.last.Seq == seq {
		return s.last, nil
	}
	head, rows, err := spool.Read(r, seq)
	if err != nil {
		return nil, err
	}
	b := &block{Head: head, rows: rows}
	schema, err := record.SchemaOf(rows.Schema())
	if err != nil {
		return nil, err
	}
	if b.at, b.sorted = record.EventTimes(schema, rows); b.sorted {
		b.sorted = sort.SliceIsSorted(make([]struct{}, rows.NumRows()), func(i, j int) bool { return b.at(i).Before(b.at(j)) })
	}
	s.last = b
	return b, nil
}

// spareRows is how many rows of other windows may be read to count those of one, in addition to as many as it has.
const spareRows = 100_000

// count returns how many rows of a window have different keys: the table has as many, if none of the rows in its blocks was
// refused. It is 0 if that is not known, which includes a window that came in over so long a time that its blocks are mostly
// those of other windows.
func (in *Source) count(r store.Reader, w *window) (int, error) {
	if w.First == 0 || w.Lacking {
		return 0, nil
	}
	came, _ := w.rows()
	keys := newKeys(in.cfg.Key, w.From, w.To, came)
	for seq, spare := w.First, 2*came+spareRows; seq <= w.Last; seq++ {
		b, err := in.spooled.read(r, seq)
		switch {
		case fault.Is(err, fault.NotFound), fault.Is(err, fault.Corrupt):
			continue // there are more, then
		case err != nil:
			return 0, err
		case b.Only != 0 || b.Copy:
			continue
		}
		if spare -= int(b.Rows); spare < 0 {
			return 0, nil
		}
		if !keys.count(b.of(w.From, w.To)) {
			return 0, nil
		}
	}
	return len(keys.seen), nil
}

// of are the rows of the block among which are those of a time: those alone if the block is in the order of time.
func (b *block) of(from, to time.Time) arrow.RecordBatch {
	if !b.sorted {
		return b.rows
	}
	first := func(at time.Time) int64 {
		return int64(sort.Search(int(b.rows.NumRows()), func(row int) bool { return !b.at(row).Before(at) }))
	}
	return b.rows.NewSlice(first(from), first(to))
}
