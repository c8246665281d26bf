// Package spool is an ordered log of blocks of rows, with one reader's state for each sink.
//
// A block is appended in the commit that moves its source's cursor, so the spool and the cursor can't
// disagree. Each sink keeps the set of sequences it is done with, not one cursor: so it can deliver
// the newest blocks beside a long backlog, retry and replay, and a slow sink holds back no other.
//
// A delivery (one or more blocks that follow each other) is planned before the first attempt: its
// bounds, content and token are durable, so that a retry after a crash is the same to the byte. What
// a reader is given is durable; a block is never shown before its commit is.
//
// Keys:
//
//	Blocks   seq(8)              head, payload
//	Heads    seq(8)              head
//	Sinks    sink(4)             JSON: where the sink began, up to which key it is checked by key
//	Settled  sink(4) first(8)    last(8)
//	Plans    sink(4) first(8)    JSON: plan
//	Cursors  source(4)           the source's cursor
//	Meta     "spool"             version(1) next(8) first(8) blocks(8) rows(8) bytes(8)
//
// It does not count rows: the caller does so in the same transaction (see balance).
package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store"
)

// Spool is the log of one job.
type Spool struct {
	st  *store.Store
	job string

	mu    sync.Mutex
	tail  uint64           // last durable sequence; guarded by mu
	grown chan struct{}    // closed and replaced when tail grows; guarded by mu
	sinks map[uint32]*Sink // that are open; guarded by mu
}

// Stats are the figures of what the spool holds, kept with every commit.
type Stats struct {
	Next   uint64 `json:"next"`  // sequence of the next block
	First  uint64 `json:"first"` // oldest block still here; equal to Next if there is none
	Blocks uint64 `json:"blocks"`
	Rows   uint64 `json:"rows"`
	Bytes  uint64 `json:"bytes"` // size of the blocks, compressed
}

var keyStats = store.Meta.K().Str("spool")

// Open returns the spool in st. The job's name becomes part of every token. Who appends and who delivers
// share one Spool: what is appended through another is seen by its sinks only after they are opened anew.
func Open(st *store.Store, job string) (*Spool, error) {
	s := &Spool{st: st, job: job, grown: make(chan struct{}), sinks: map[uint32]*Sink{}}
	err := st.View(context.Background(), func(r store.Reader) error {
		stats, err := ReadStats(r)
		s.tail = stats.Next - 1
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open spool of %s: %w", job, err)
	}
	return s, nil
}

// ReadStats returns the figures.
func ReadStats(r store.Reader) (Stats, error) {
	v, ok, err := r.Get(keyStats)
	if err != nil {
		return Stats{}, fmt.Errorf("read spool figures: %w", err)
	}
	if !ok {
		return Stats{Next: 1, First: 1}, nil
	}
	if len(v) != 41 || v[0] != 1 {
		return Stats{}, fault.New(fault.Corrupt, "spool figures have %d bytes", len(v))
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(v[1+8*i:]) }
	return Stats{u(0), u(1), u(2), u(3), u(4)}, nil
}

func (st Stats) write(tx *store.Tx) {
	b := []byte{1}
	for _, v := range []uint64{st.Next, st.First, st.Blocks, st.Rows, st.Bytes} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	tx.Set(keyStats, b)
}

// Append stamps the block with lineage, sequence and time, and writes it together with its source's
// cursor. It becomes visible to sinks when the transaction is durable.
func (s *Spool) Append(tx *store.Tx, b *Block) (seq uint64, err error) {
	stats, err := ReadStats(tx)
	if err != nil {
		return 0, err
	}
	h := b.head
	h.Seq, h.Lineage, h.At = stats.Next, tx.Lineage(), time.Now()
	head := h.append(nil)
	tx.Set(headKey(h.Seq), head)
	tx.Set(blockKey(h.Seq), append(head, b.payload...))
	if len(h.Cursor) > 0 {
		SetCursor(tx, h.Source, h.Cursor)
	}
	stats.Next++
	stats.Blocks++
	stats.Rows += uint64(h.Rows)
	stats.Bytes += uint64(h.Bytes)
	stats.write(tx)
	tx.OnDurable(func() { s.advance(h.Seq) })
	return h.Seq, nil
}

// SetCursor moves a source's cursor, for a page without rows.
func SetCursor(tx *store.Tx, source uint32, cursor []byte) {
	tx.Set(store.Cursors.K().U32(source), cursor)
}

// Cursor returns a source's cursor, nil if it has none.
func Cursor(r store.Reader, source uint32) ([]byte, error) {
	v, _, err := r.Get(store.Cursors.K().U32(source))
	if err != nil {
		return nil, fmt.Errorf("read cursor: %w", err)
	}
	return v, nil
}

// advance says that the blocks up to seq are durable: a durable commit makes all before it durable.
func (s *Spool) advance(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq > s.tail {
		s.tail = seq
		close(s.grown)
		s.grown = make(chan struct{})
	}
}

// Tail returns the last durable sequence and a channel that is closed when there is a later one.
func (s *Spool) Tail() (seq uint64, grown <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail, s.grown
}

func headKey(seq uint64) store.Key  { return store.Heads.K().U64(seq) }
func blockKey(seq uint64) store.Key { return store.Blocks.K().U64(seq) }

// Heads returns the heads of the blocks from first to last that are here, in order, at most max.
func Heads(r store.Reader, first, last uint64, max int) ([]Head, error) {
	var out []Head
	seq, fail := r.Scan(headKey(first), headKey(last+1))
	for _, v := range seq {
		h, _, err := readHead(v)
		if err != nil {
			return out, err
		}
		if out = append(out, h); len(out) == max {
			break
		}
	}
	return out, fail()
}

// Read returns a block. A Corrupt fault means that it is damaged, a NotFound fault that it is not
// here any more.
func Read(r store.Reader, seq uint64) (Head, arrow.RecordBatch, error) { return read(r, seq, quickly) }

func read(r store.Reader, seq uint64, decode decoding) (h Head, rows arrow.RecordBatch, err error) {
	var bad error
	ok, err := r.Look(blockKey(seq), func(v []byte) error {
		h, rows, bad = readBlock(v, decode)
		return nil
	})
	switch {
	case err != nil:
		return Head{}, nil, fmt.Errorf("read block %d: %w", seq, err)
	case !ok:
		bad = fault.New(fault.NotFound, "block %d is not in the spool", seq)
	case bad == nil && h.Seq != seq:
		bad = fault.New(fault.Corrupt, "block %d says that it is %d", seq, h.Seq)
	}
	if bad != nil {
		return h, nil, &badBlock{bad}
	}
	return h, rows, nil
}

// badBlock says that a block is not what was appended, in a store that could be read. An error without
// it speaks of the store: the block may be whole.
type badBlock struct{ error }

func (b *badBlock) Unwrap() error { return b.error }

func isBad(err error) bool {
	_, ok := errors.AsType[*badBlock](err)
	return ok
}

// Retain says how long blocks stay that every sink is done with.
type Retain struct {
	Age   time.Duration // 0 keeps nothing for its age
	Bytes int64         // at most this much is kept, whatever the age; 0 is no limit
}

// trimStep bounds the work of one Trim: the rest waits for the next.
const trimStep = 4096

// Trim removes the oldest blocks that no sink needs and that are beyond what is to be retained. now is
// the zero time while the clock can't be trusted: then nothing goes for its age. It returns how many
// blocks went; the caller calls again while it is not zero.
func (s *Spool) Trim(ret Retain, now time.Time) (removed int, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		stats, err := ReadStats(tx)
		if err != nil {
			return err
		}
		floor, err := settledFloor(tx, stats.Next)
		if err != nil {
			return err
		}
		if floor <= stats.First {
			return nil
		}
		heads, err := Heads(tx, stats.First, floor-1, trimStep)
		if err != nil && !fault.Is(err, fault.Corrupt) {
			return err
		}
		first := stats.First
		for _, h := range heads {
			old := !now.IsZero() && (ret.Age == 0 || now.Sub(h.At) > ret.Age)
			if !old && (ret.Bytes == 0 || int64(stats.Bytes) <= ret.Bytes) {
				break
			}
			stats.First = h.Seq + 1
			stats.drop(h)
			removed++
		}
		if removed == 0 {
			return nil
		}
		removeBlocks(tx, first, stats.First)
		stats.write(tx)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("trim spool: %w", err)
	}
	return removed, nil
}

func (s *Stats) drop(h Head) {
	s.Blocks--
	s.Rows -= uint64(h.Rows)
	s.Bytes -= uint64(h.Bytes)
}

// removeBlocks removes the blocks from first to the one before end.
func removeBlocks(tx *store.Tx, first, end uint64) {
	tx.DeleteRange(headKey(first), headKey(end))
	tx.DeleteRange(blockKey(first), blockKey(end))
}

// settledFloor returns the first sequence that some sink is not done with. Without sinks nothing is
// done.
func settledFloor(r store.Reader, next uint64) (uint64, error) {
	sinks, err := readSinks(r)
	if err != nil {
		return 0, err
	}
	if len(sinks) == 0 {
		return 0, nil
	}
	floor := next
	for id, st := range sinks {
		done, err := readSettled(r, id)
		if err != nil {
			return 0, err
		}
		floor = min(floor, done.nextGap(st.Begin))
	}
	return floor, nil
}

// Verify reads every block and reports the damaged ones to bad; progress is told after each block
// with the number done and the number of all.
func Verify(ctx context.Context, r store.Reader, progress func(done, all uint64),
	bad func(seq uint64, err error)) error {
	stats, err := ReadStats(r)
	if err != nil {
		return err
	}
	gone, err := readSettled(r, released)
	if err != nil {
		return err
	}
	for seq := stats.First; seq < stats.Next; seq++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !gone.has(seq) {
			if _, _, err := read(r, seq, record.Decode); err != nil {
				bad(seq, err)
			}
		}
		progress(seq-stats.First+1, stats.Next-stats.First)
	}
	return nil
}

// AppendFor appends a block for one sink alone: every other sink is done with it from the start.
func (s *Spool) AppendFor(tx *store.Tx, b *Block, sink uint32) (seq uint64, err error) {
	stats, err := ReadStats(tx)
	if err != nil {
		return 0, err
	}
	sinks, err := readSinks(tx)
	if err != nil {
		return 0, err
	}
	// The others are done with it before anyone is told that it is there.
	for id := range sinks {
		if id == sink {
			continue
		}
		if err := settleRange(tx, id, stats.Next, stats.Next); err != nil {
			return 0, err
		}
		tx.OnDurable(func() { s.settledElsewhere(id, stats.Next) })
	}
	only := *b
	only.head.Only = sink
	return s.Append(tx, &only)
}

// settledElsewhere tells an open sink that it is done with seq.
func (s *Spool) settledElsewhere(id uint32, seq uint64) {
	s.mu.Lock()
	k := s.sinks[id]
	s.mu.Unlock()
	if k != nil {
		k.update(func() { k.settled.add(seq, seq) })
	}
}

// settleRange joins [first, last] to the settled set of a sink as it stands in the store.
func settleRange(tx *store.Tx, id uint32, first, last uint64) error {
	prefix := store.Settled.K().U32(id)
	whole := span{first, last}
	var gone []uint64
	join := func(key, v []byte) bool {
		s := span{binary.BigEndian.Uint64(key[5:]), binary.BigEndian.Uint64(v)}
		if s.last+1 < first || s.first > last+1 {
			return false
		}
		whole.first, whole.last = min(whole.first, s.first), max(whole.last, s.last)
		gone = append(gone, s.first)
		return true
	}
	before, failBefore := tx.ScanBack(prefix, settledKey(id, first))
	for k, v := range before {
		if !join(k, v) {
			break
		}
	}
	behind, failBehind := tx.Scan(settledKey(id, first), prefix.End())
	for k, v := range behind {
		if !join(k, v) {
			break
		}
	}
	if err := errors.Join(failBefore(), failBehind()); err != nil {
		return fmt.Errorf("read settled ranges: %w", err)
	}
	for _, f := range gone {
		tx.Delete(settledKey(id, f))
	}
	tx.Set(settledKey(id, whole.first), store.Key(nil).U64(whole.last))
	return nil
}
