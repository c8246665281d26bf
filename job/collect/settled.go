package collect

import (
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Done reports whether every sink is done with all blocks from one sequence to another.
type Done func(first, last uint64) (bool, error)

// done is what holds within a transaction.
func (j *Job) done(tx *store.Tx) Done {
	var waits []func(seq uint64) bool
	return func(first, last uint64) (bool, error) {
		for _, d := range j.sinks[len(waits):] {
			w, err := spool.Waiting(tx, d.k.ID)
			if err != nil {
				return false, err
			}
			waits = append(waits, w)
		}
		for _, w := range waits {
			for seq := first; seq <= last; seq++ {
				if w(seq) {
					return false, nil
				}
			}
		}
		return true, nil
	}
}

// onSettle calls OnSettle, because a sink is done with blocks.
func (j *Job) onSettle(tx *store.Tx) error {
	if j.cfg.OnSettle == nil {
		return nil
	}
	return j.cfg.OnSettle(tx, j.done(tx))
}

// onLack calls OnLack, because a sink does not get all rows of blocks.
func (d *delivery) onLack(tx *store.Tx, blocks []uint64) error {
	if d.j.cfg.OnLack == nil || len(blocks) == 0 {
		return nil
	}
	return d.j.cfg.OnLack(tx, d.Name, blocks)
}

// Look lets f look at what the sinks are done with, in a transaction of its own.
func (j *Job) Look(f func(tx *store.Tx, done Done) error) error {
	return j.env.Store.Update(func(tx *store.Tx) error { return f(tx, j.done(tx)) })
}
