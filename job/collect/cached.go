package collect

import (
	"fmt"
	"sync/atomic"

	"holdfast/kernel/balance"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// cached knows what the log has said to be kept for a sink that is away: all that is pending up to a block. Intake, deliveries
// and the gate tell of it, each row once.
type cached struct {
	d   *delivery
	now atomic.Pointer[kept]
}

// kept is how many rows are pending, and the block that the last of them is in.
type kept struct {
	seq  uint64
	rows int64
}

// begin takes for granted that an earlier process has told of all that is pending at the start.
func (c *cached) begin(d *delivery) error {
	c.d = d
	k, err := c.pending()
	if err != nil {
		return fmt.Errorf("read backlog of sink %s: %w", d.Name, err)
	}
	c.now.Store(&k)
	return nil
}

// pending returns all that the sink is not done with, at one moment.
func (c *cached) pending() (k kept, err error) {
	err = c.d.j.env.Store.Latest(func(r store.Reader) error {
		stats, err := spool.ReadStats(r)
		if err != nil {
			return err
		}
		flow, err := balance.ReadFlow(r, c.d.k.ID)
		k = kept{seq: stats.Next - 1, rows: flow.Pending}
		return err
	})
	return k, err
}

// covers reports whether the log has said that a block is kept.
func (c *cached) covers(seq uint64) bool { return seq <= c.now.Load().seq }

// closed tells of all that is pending when the gate closes.
func (c *cached) closed() {
	for {
		was := c.now.Load()
		k, err := c.pending()
		if err != nil {
			c.d.j.env.Log.Error(fmt.Sprintf("read backlog of sink %s: %v", c.d.Name, err))
			return
		}
		if c.now.CompareAndSwap(was, &k) {
			c.tell(k.rows - was.rows)
			return
		}
	}
}

// taken tells of a page that came in while the gate was closed.
func (c *cached) taken(t Taken) {
	for {
		was := c.now.Load()
		if t.Last <= was.seq {
			return
		}
		if c.now.CompareAndSwap(was, &kept{seq: t.Last, rows: was.rows + t.Accepted}) {
			c.tell(t.Accepted)
			return
		}
	}
}

// replayed subtracts rows that the sink has got.
func (c *cached) replayed(rows int64) {
	for {
		was := c.now.Load()
		if c.now.CompareAndSwap(was, &kept{seq: was.seq, rows: max(0, was.rows-rows)}) {
			return
		}
	}
}

func (c *cached) tell(rows int64) {
	if rows > 0 {
		c.d.j.env.Log.Warn(fmt.Sprintf("Cached %d %s for sink %s, whose gate is closed", rows, c.d.j.cfg.Noun,
			c.d.Name))
	}
}
