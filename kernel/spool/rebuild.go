package spool

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store"
)

// Rebuilt says what a Rebuild found.
type Rebuilt struct {
	Blocks int64
	Rows   int64
	// Lost are the blocks that some sink was not done with and of which only the heads are left.
	Lost []LostBlock
	// Unknown are the runs of blocks that some sink was not done with and of which nothing is left.
	Unknown []LostRun
}

// LostBlock is a block that can't be read any more, and the sinks that were not done with it.
type LostBlock struct {
	Head  Head
	Sinks []uint32
}

// LostRun is a run of blocks of which nothing is left. Before and Behind are the heads of the whole
// blocks next to it, nil if there is none: the keys of the run were most likely between theirs.
type LostRun struct {
	First, Last    uint64
	Before, Behind *Head
}

// Rebuild makes a whole spool of what a salvage found. Blocks and what sinks are done with are facts;
// heads, figures, cursors and plans follow from them: a block that can't be read is dropped and, where
// a sink still needed it, reported as lost and settled there; the cursors are those of the last blocks
// that are whole; every plan is given up, and every sink is compared by key from now on with what it
// holds, because what was sent last is not known.
func Rebuild(st *store.Store) (out Rebuilt, err error) {
	b := &rebuild{st: st, cursors: map[uint32][]byte{}, heads: map[uint64]Head{},
		lost: map[uint64]*LostBlock{}}
	if err := b.readBlocks(); err != nil {
		return out, fmt.Errorf("rebuild spool: %w", err)
	}
	err = st.Update(func(tx *store.Tx) error { return b.write(tx) })
	if err != nil {
		return out, fmt.Errorf("rebuild spool: %w", err)
	}
	return b.out, nil
}

type rebuild struct {
	st      *store.Store
	out     Rebuilt
	stats   Stats
	good    ranges
	bad     []uint64
	heads   map[uint64]Head // of bad blocks, where they are left
	lost    map[uint64]*LostBlock
	keyHi   uint64 // highest key of any block
	unknown ranges // lost, without a head
	cursors map[uint32][]byte
}

// readBlocks finds out which blocks are whole, and writes their heads.
func (b *rebuild) readBlocks() error {
	var last uint64
	for from := uint64(0); ; from = last + 1 {
		n := 0
		err := b.st.Update(func(tx *store.Tx) error {
			seq, fail := tx.Scan(blockKey(from), store.Blocks.K().End())
			for k, v := range seq {
				if n++; n > trimStep {
					break
				}
				last = binary.BigEndian.Uint64(k[1:])
				b.block(tx, last, v)
			}
			return fail()
		})
		if err != nil || n <= trimStep {
			return err
		}
	}
}

func (b *rebuild) block(tx *store.Tx, seq uint64, v []byte) {
	h, payload, err := readHead(v)
	if err != nil || h.Seq != seq || len(payload) != int(h.Bytes) || xxhash.Sum64(payload) != h.Sum {
		b.bad = append(b.bad, seq)
		tx.Delete(blockKey(seq))
		if err == nil && h.Seq == seq {
			b.heads[seq] = h
		}
		return
	}
	tx.Set(headKey(seq), h.append(nil))
	b.keyHi = max(b.keyHi, h.KeyHi)
	b.good.add(seq, seq)
	b.stats.Blocks++
	b.stats.Rows += uint64(h.Rows)
	b.stats.Bytes += uint64(h.Bytes)
	if len(h.Cursor) > 0 {
		b.cursors[h.Source] = h.Cursor // in ascending order: the last one stays
	}
}

func (b *rebuild) write(tx *store.Tx) error {
	if err := b.looseHeads(tx); err != nil {
		return err
	}
	sinks, err := b.sinks(tx)
	if err != nil {
		return err
	}
	next, err := b.next(tx, sinks)
	if err != nil {
		return err
	}
	b.stats.Next, b.stats.First = next, next
	if len(b.good) > 0 {
		b.stats.First = b.good[0].first
	}
	for id := range sinks {
		if err := b.settleLost(tx, id, sinks[id].Begin); err != nil {
			return err
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(b.lost)) {
		b.out.Lost = append(b.out.Lost, *b.lost[seq])
	}
	if err := b.runs(tx); err != nil {
		return err
	}
	tx.DeleteRange(store.Plans.K(), store.Plans.K().End())
	for source, c := range b.cursors {
		SetCursor(tx, source, c)
	}
	b.stats.write(tx)
	b.out.Blocks, b.out.Rows = int64(b.stats.Blocks), int64(b.stats.Rows)
	return nil
}

// looseHeads removes the heads without a block, and remembers them as lost.
func (b *rebuild) looseHeads(tx *store.Tx) error {
	seq, fail := tx.Scan(store.Heads.K(), store.Heads.K().End())
	var drop []uint64
	for k, v := range seq {
		n := binary.BigEndian.Uint64(k[1:])
		if b.good.has(n) {
			continue
		}
		drop = append(drop, n)
		if h, _, err := readHead(v); err == nil && h.Seq == n {
			b.heads[n] = h
		}
	}
	for _, n := range drop {
		tx.Delete(headKey(n))
	}
	return fail()
}

// sinks returns the sinks by their names, which are facts; a sink whose state is gone begins with the
// first block.
func (b *rebuild) sinks(tx *store.Tx) (map[uint32]SinkState, error) {
	names, err := store.NamesOf(tx, store.SinkName)
	if err != nil {
		return nil, err
	}
	out := map[uint32]SinkState{}
	for name, id := range names {
		st := SinkState{Begin: 1}
		if err := getJSON(tx, sinkKey(id), &st); err != nil && !fault.Is(err, fault.NotFound) &&
			!fault.Is(err, fault.Corrupt) {
			return nil, err
		}
		// What is taken in a second time, because its key was forgotten, is found by key as well.
		st.Name, st.Checked, st.CheckTo = name, "", max(st.CheckTo, b.keyHi)
		if err := putJSON(tx, sinkKey(id), st); err != nil {
			return nil, err
		}
		out[id] = st
	}
	return out, nil
}

// next is one behind every sequence that any fact tells of.
func (b *rebuild) next(tx *store.Tx, sinks map[uint32]SinkState) (uint64, error) {
	next := uint64(1)
	if n := len(b.good); n > 0 {
		next = b.good[n-1].last + 1
	}
	for seq := range b.heads {
		next = max(next, seq+1)
	}
	for _, seq := range b.bad {
		next = max(next, seq+1)
	}
	for id, st := range sinks {
		done, err := readSettled(tx, id)
		if err != nil {
			return 0, err
		}
		next = max(next, st.Begin)
		if n := len(done); n > 0 {
			next = max(next, done[n-1].last+1)
		}
	}
	return next, nil
}

// settleLost settles for a sink every sequence that it is not done with and that is not there.
func (b *rebuild) settleLost(tx *store.Tx, id uint32, begin uint64) error {
	have, err := readSettled(tx, id)
	if err != nil {
		return err
	}
	for _, s := range b.good {
		have.add(s.first, s.last)
	}
	for first := have.nextGap(begin); first < b.stats.Next; first = have.nextGap(first) {
		last := have.gapEnd(first, b.stats.Next-1)
		b.lose(first, last, id)
		if err := settleRange(tx, id, first, last); err != nil {
			return err
		}
		first = last + 1
	}
	return nil
}

// lose reports the blocks from first to last as lost to a sink.
func (b *rebuild) lose(first, last uint64, sink uint32) {
	var known ranges
	for seq, h := range b.heads {
		if seq < first || seq > last {
			continue
		}
		known.add(seq, seq)
		l := b.lost[seq]
		if l == nil {
			l = &LostBlock{Head: h}
			b.lost[seq] = l
		}
		l.Sinks = append(l.Sinks, sink)
	}
	for at := known.nextGap(first); at <= last; at = known.nextGap(at) {
		end := known.gapEnd(at, last)
		b.unknown.add(at, end)
		at = end + 1
	}
}

// runs names the neighbours of the lost runs.
func (b *rebuild) runs(r store.Reader) error {
	for _, s := range b.unknown {
		run := LostRun{First: s.first, Last: s.last}
		for _, g := range b.good {
			at := &run.Behind
			seq := g.first
			if g.last < s.first {
				at, seq = &run.Before, g.last
			}
			if g.last >= s.first && run.Behind != nil {
				break
			}
			h, err := readHeadAt(r, seq)
			if err != nil {
				return err
			}
			*at = &h
		}
		b.out.Unknown = append(b.out.Unknown, run)
	}
	return nil
}

// EachOverlapping calls f with the integer keys of every block of a source whose key range overlaps
// [lo, hi].
func EachOverlapping(r store.Reader, source uint32, lo, hi uint64, f func(h Head, keys []uint64)) error {
	stats, err := ReadStats(r)
	if err != nil {
		return err
	}
	heads, err := Heads(r, stats.First, stats.Next, 1<<31)
	if err != nil {
		return err
	}
	for _, h := range heads {
		if h.Source != source || !h.HasKeys || h.KeyHi < lo || h.KeyLo > hi {
			continue
		}
		_, rows, err := Read(r, h.Seq)
		if err != nil {
			return err
		}
		s, err := record.SchemaOf(rows.Schema())
		if err != nil {
			return err
		}
		if keys, ok := record.Keys(s, rows); ok {
			f(h, keys)
		}
	}
	return nil
}
