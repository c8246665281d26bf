package crawl

import (
	"encoding/binary"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// clock measures how long the crawl has been at work, in all its runs. Time between runs, time in which it is paused, and
// time in which there is nothing to fetch do not count.
type clock struct {
	mu      sync.Mutex
	counted time.Duration // until at
	at      time.Time
	idle    bool // since at, there is nothing to fetch
}

var clockKey = store.Key{byte(store.Job), 'E'}

// elapsed is how long the crawl has been at work until its last commit.
func elapsed(r store.Reader) (d time.Duration, err error) {
	_, err = r.Look(clockKey, func(v []byte) error {
		if len(v) != 8 {
			return fault.New(fault.Corrupt, "how long the crawl has been at work is %x", v)
		}
		d = time.Duration(binary.BigEndian.Uint64(v)) * time.Millisecond
		return nil
	})
	return d, err
}

func openClock(st *store.Store) (*clock, error) {
	c := &clock{at: time.Now()}
	return c, st.Latest(func(r store.Reader) (err error) {
		if c.counted, err = elapsed(r); err != nil {
			return err
		}
		n, err := frontier.ReadCounts(r)
		c.idle = n.Open() == 0
		return err
	})
}

// elapsed returns how long the crawl has been at work until now.
func (c *clock) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		return c.counted
	}
	return c.counted + time.Since(c.at)
}

// commit makes durable how long it has been; idle says that from now on there is nothing to fetch.
func (c *clock) commit(tx *store.Tx, idle bool) {
	d := c.elapsed()
	c.mu.Lock()
	c.counted, c.at, c.idle = d, time.Now(), idle
	c.mu.Unlock()
	tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(d.Milliseconds())))
}
