package crawl

import (
	"encoding/binary"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// clock measures how long the crawl has been at work, in all its runs. Time between runs, and time in which it is paused, does
// not count.
type clock struct {
	before time.Duration // this run
	began  time.Time
}

var clockKey = store.Key{byte(store.Job), 'E'}

// Elapsed returns how long the crawl had been at work at its last commit.
func Elapsed(r store.Reader) (d time.Duration, err error) {
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
	c := &clock{began: time.Now()}
	return c, st.Latest(func(r store.Reader) (err error) {
		c.before, err = Elapsed(r)
		return err
	})
}

// elapsed returns how long the crawl has been at work until now.
func (c *clock) elapsed() time.Duration { return c.before + time.Since(c.began) }

func (c *clock) commit(tx *store.Tx) {
	tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(c.elapsed().Milliseconds())))
}
