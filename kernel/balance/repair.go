package balance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"holdfast/kernel/store"
)

// KeyNextDead is where the number of the next dead letter stands, for a salvage.
var KeyNextDead = keyNextDead

// SetFlow replaces the counters of a sink, after a salvage has counted anew.
func SetFlow(tx *store.Tx, sink uint32, f Flow) { set(tx, lawFlow, sink, f.terms()) }

// CountDead counts the dead letters one by one: all, and those of each sink.
func CountDead(r store.Reader) (all int64, bySink map[uint32]int64, err error) {
	bySink = map[uint32]int64{}
	seq, fail := r.Scan(store.Dead.K(), store.Dead.K().End())
	for _, v := range seq {
		all++
		var d DeadLetter
		if json.Unmarshal(v, &d) == nil && d.Stage == AtSink {
			bySink[d.FromID]++
		}
	}
	return all, bySink, fail()
}

// DropWaiting removes the dead letters of rows that wait for their sink again, in a block that it has still
// to get: a row is dead or pending, not both.
func DropWaiting(tx *store.Tx, waits func(sink uint32, seq uint64) bool) error {
	var drop []uint64
	seq, fail := tx.Scan(store.Dead.K(), store.Dead.K().End())
	for k, v := range seq {
		var d DeadLetter
		if json.Unmarshal(v, &d) == nil && d.Stage == AtSink && waits(d.FromID, d.Seq) {
			drop = append(drop, binary.BigEndian.Uint64(k[1:]))
		}
	}
	for _, id := range drop {
		tx.Delete(deadKey(id))
	}
	return fail()
}

// DropUnreadable removes gaps, dead letters and counters that can't be read.
func DropUnreadable(tx *store.Tx) error {
	var drop []store.Key
	check := func(space store.Space, ok func(k, v []byte) bool) error {
		seq, fail := tx.Scan(space.K(), space.K().End())
		for k, v := range seq {
			if !ok(k, v) {
				drop = append(drop, append(store.Key(nil), k...))
			}
		}
		return fail()
	}
	if err := check(store.Gaps, func(k, v []byte) bool {
		_, err := decodeGap(k, v)
		return err == nil
	}); err != nil {
		return err
	}
	if err := check(store.Dead, func(k, v []byte) bool {
		var d DeadLetter
		return len(k) == 9 && json.Unmarshal(v, &d) == nil
	}); err != nil {
		return err
	}
	if err := check(store.Counters, func(k, v []byte) bool {
		return len(k) == 6 && len(v)%8 == 1 && v[0] == version
	}); err != nil {
		return err
	}
	for _, k := range drop {
		tx.Delete(k)
	}
	return nil
}

// RecountGaps makes the open, missing and settled totals of every source fit its gaps. What was filled
// or absent in gaps that are history by now can't be counted again and stays.
func RecountGaps(tx *store.Tx) error {
	count := map[uint32]GapTotals{}
	all := store.Counters.K().U8(lawGaps)
	seq, fail := tx.Scan(all, all.End())
	for k := range seq { // a source may have none of its gaps left
		count[binary.BigEndian.Uint32(k[len(all):])] = GapTotals{}
	}
	if err := fail(); err != nil {
		return err
	}
	seq, fail = tx.Scan(store.Gaps.K(), store.Gaps.K().End())
	for k, v := range seq {
		g, err := decodeGap(k, v)
		if err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(k[1:])
		t, d := count[id], g.totals()
		t.Open, t.Missing, t.Settled = t.Open+d.Open, t.Missing+d.Missing, t.Settled+d.Settled
		count[id] = t
	}
	if err := fail(); err != nil {
		return err
	}
	for id, t := range count {
		was, err := ReadGapTotals(tx, id)
		if err != nil {
			return fmt.Errorf("recount gaps: %w", err)
		}
		err = add(tx, lawGaps, id, []int64{t.Open - was.Open, t.Missing - was.Missing, 0, 0, 0,
			t.Settled - was.Settled})
		if err != nil {
			return err
		}
	}
	return nil
}
