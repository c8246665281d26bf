package spool

import (
	"fmt"

	"holdfast/kernel/store"
)

// released is whose settled sequences are those of blocks that went before older ones did. No sink has it.
const released uint32 = 0

// Release removes the oldest blocks that every sink is done with until all have at most so many bytes, also
// from behind blocks that a sink needs: a delivery that a frozen sink has in its hands must not keep all that
// came later. It returns how many blocks went; the caller calls again while it is not zero.
func (s *Spool) Release(bytes int64) (removed int, err error) {
	err = s.st.Update(func(tx *store.Tx) error {
		removed = 0
		stats, err := ReadStats(tx)
		if err != nil || int64(stats.Bytes) <= bytes {
			return err
		}
		needed, err := needed(tx, stats)
		if err != nil {
			return err
		}
		for first := needed.nextGap(stats.First); first < stats.Next && removed < trimStep; {
			last := needed.gapEnd(first, stats.Next-1)
			heads, err := Heads(tx, first, last, trimStep)
			if err != nil {
				return err
			}
			end := first
			for _, h := range heads {
				if int64(stats.Bytes) <= bytes {
					break
				}
				stats.drop(h)
				removed, end = removed+1, h.Seq+1
			}
			if end > first {
				removeBlocks(tx, first, end)
				if err := settleRange(tx, released, first, end-1); err != nil {
					return err
				}
			}
			if last+1 >= stats.Next || int64(stats.Bytes) <= bytes {
				break
			}
			first = needed.nextGap(last + 1)
		}
		if removed > 0 {
			stats.write(tx)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("release blocks of the spool: %w", err)
	}
	return removed, nil
}

// needed are the sequences that some sink is not done with, those that went already, and the youngest that
// has a cursor: a salvage goes by it, and by that of an older one it would read what came since again.
// Without sinks all are.
func needed(r store.Reader, stats Stats) (ranges, error) {
	sinks, err := readSinks(r)
	if err != nil {
		return nil, err
	}
	if len(sinks) == 0 {
		return ranges{{0, stats.Next}}, nil
	}
	out, err := readSettled(r, released)
	if err != nil {
		return nil, err
	}
	for id, st := range sinks {
		if err := out.addWaiting(r, id, st.Begin, stats); err != nil {
			return nil, err
		}
	}
	back, fail := r.ScanBack(headKey(stats.First), headKey(stats.Next))
	for _, v := range back {
		if h, _, err := readHead(v); err == nil && len(h.Cursor) > 0 {
			out.add(h.Seq, h.Seq)
			break
		}
	}
	return out, fail()
}

// addWaiting joins what a sink has not got to the set.
func (r *ranges) addWaiting(rd store.Reader, id uint32, begin uint64, stats Stats) error {
	done, err := readSettled(rd, id)
	if err != nil {
		return err
	}
	for first := done.nextGap(max(begin, stats.First)); first < stats.Next; {
		last := done.gapEnd(first, stats.Next-1)
		r.add(first, last)
		first = done.nextGap(last + 1)
	}
	return nil
}

// Holding returns those of the given sinks without which the oldest block that can go would go. A block that
// one of them has on its way can't go, nor can one that a sink waits for which is not given.
func Holding(r store.Reader, sinks []*Sink) ([]*Sink, error) {
	stats, err := ReadStats(r)
	if err != nil {
		return nil, err
	}
	all, err := readSinks(r)
	if err != nil {
		return nil, err
	}
	var stay ranges
	for _, k := range sinks {
		delete(all, k.ID)
		for _, s := range k.onItsWay() {
			stay.add(s.first, s.last)
		}
	}
	for id, st := range all {
		if err := stay.addWaiting(r, id, st.Begin, stats); err != nil {
			return nil, err
		}
	}
	var out []*Sink
	oldest := stats.Next
	for _, k := range sinks {
		done, err := readSettled(r, k.ID)
		if err != nil {
			return nil, err
		}
		for _, s := range stay {
			done.add(s.first, s.last)
		}
		first := done.nextGap(max(k.State().Begin, stats.First))
		if first < oldest {
			oldest, out = first, nil
		}
		if first == oldest && first < stats.Next {
			out = append(out, k)
		}
	}
	return out, nil
}

// onItsWay is what the sink has in deliveries.
func (k *Sink) onItsWay() (out ranges) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.onItsWayLocked()
}

func (k *Sink) onItsWayLocked() (out ranges) {
	for _, p := range k.plans {
		out.add(p.First, p.Last)
	}
	if k.given != (span{}) { // a plan that may not be durable yet, or damage on its way to Forfeit
		out.add(k.given.first, k.given.last)
	}
	return out
}
