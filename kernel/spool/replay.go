package spool

import (
	"encoding/binary"

	"holdfast/kernel/store"
)

// Unsettle takes blocks out of what the sink is done with: it gets them once more, or for the first time,
// if they came in before it was added. They are to be compared by key: see Suspect. It may run beside
// Next and what follows on it.
func (k *Sink) Unsettle(tx *store.Tx, first, last uint64) error {
	st, err := readState(tx, k.ID)
	if err != nil {
		return err
	}
	begin := st.Begin
	if first < begin {
		if err := settleRange(tx, k.ID, first, begin-1); err != nil {
			return err
		}
		err := k.change(tx, func(st *SinkState) { st.Begin = min(st.Begin, first) })
		if err != nil {
			return err
		}
	}
	settled, err := readSettled(tx, k.ID)
	if err != nil {
		return err
	}
	for _, s := range settled {
		if s.last < first || s.first > last {
			continue
		}
		tx.Delete(settledKey(k.ID, s.first))
		if s.first < first {
			tx.Set(settledKey(k.ID, s.first), binary.BigEndian.AppendUint64(nil, first-1))
		}
		if s.last > last {
			tx.Set(settledKey(k.ID, last+1), binary.BigEndian.AppendUint64(nil, s.last))
		}
	}
	tx.OnDurable(func() {
		k.update(func() {
			if first < begin {
				k.settled.add(first, begin-1)
			}
			k.settled.remove(first, last)
			k.changedLocked()
		})
	})
	return nil
}

// Done returns whether a sink is done with a block, and nothing of it is on its way. One that came in before
// the sink was added is not its concern: it is neither done nor waited for.
func Done(r store.Reader, id uint32) (func(seq uint64) bool, error) {
	settled, err := readSettled(r, id)
	return settled.has, err
}
