package spool

import (
	"encoding/binary"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Unsettle takes blocks out of what the sink is done with: it gets them once more, or for the first time,
// if they came in before it was added. They are to be compared by key: see Suspect. It may run beside
// Next and what follows on it.
func (k *Sink) Unsettle(tx *store.Tx, first, last uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := k.state
	if first < st.Begin {
		if err := settleRange(tx, k.ID, first, st.Begin-1); err != nil {
			return err
		}
		st.Begin = first
		if err := putJSON(tx, sinkKey(k.ID), st); err != nil {
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
			if st.Begin < k.state.Begin {
				k.settled.add(st.Begin, k.state.Begin-1)
				k.state.Begin = st.Begin
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

// BeginOf returns the first sequence that a sink gets, if nobody asks for more.
func BeginOf(r store.Reader, id uint32) (uint64, error) {
	var st SinkState
	if err := getJSON(r, sinkKey(id), &st); err != nil {
		return 0, fmt.Errorf("read sink %d: %w", id, err)
	}
	if st.Begin == 0 {
		return 0, fault.New(fault.Corrupt, "sink %d begins nowhere", id)
	}
	return st.Begin, nil
}
