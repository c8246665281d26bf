package frontier

import (
	"encoding/binary"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Counts say how many URLs there are. They change together with what they count, so reading them costs the same for any
// number. Known is the sum of Queued, Waiting, Done, Failed and Left.
type Counts struct {
	Known   uint64 // all that were ever seen
	Queued  uint64 // to be fetched, those in flight among them
	Waiting uint64 // put off until they are tried again
	Done    uint64
	Failed  uint64
	Left    uint64 // not fetched, and never will be: robots.txt or the scope forbid it, or a person deleted them
	Bytes   uint64 // of what was fetched
	Hosts   uint64

	Exhausted      uint64 // of those Queued and Waiting, the ones of hosts that are over their budget
	ExhaustedHosts uint64 // that have some of those
	HeldHosts      uint64
	Refused        uint64 // links that were found, each time that one was, and that their pattern's budget left out
	Spent          uint64 // 1 when the budget of the crawl is used up, else 0

	Novelties
}

// Open returns how many URLs are still to be fetched, as far as the budgets allow it now.
func (c *Counts) Open() uint64 {
	if c.Spent != 0 {
		return 0
	}
	return c.Queued + c.Waiting - c.Exhausted
}

func (c *Counts) fields() []*uint64 {
	return append([]*uint64{&c.Known, &c.Queued, &c.Waiting, &c.Done, &c.Failed, &c.Left, &c.Bytes, &c.Hosts, &c.Exhausted,
		&c.ExhaustedHosts, &c.HeldHosts, &c.Refused, &c.Spent}, c.Novelties.fields()...)
}

// of is the counter of a state.
func (c *Counts) of(s State) *uint64 {
	switch s {
	case Queued:
		return &c.Queued
	case Waiting:
		return &c.Waiting
	case Done:
		return &c.Done
	case Failed:
		return &c.Failed
	}
	return &c.Left
}

// oldCounts is how many counters a store has that was written before novelties were counted.
const oldCounts = 13

// ReadCounts reads the counters.
func ReadCounts(r store.Reader) (c Counts, err error) {
	_, err = r.Look(countsKey, func(v []byte) error {
		fields := c.fields()
		if len(v)%8 != 0 || len(v) > 8*len(fields) || len(v) < 8*oldCounts {
			return fault.New(fault.Corrupt, "the counters of the frontier are %x", v)
		}
		for i, f := range fields[:len(v)/8] {
			*f = binary.BigEndian.Uint64(v[8*i:])
		}
		return nil
	})
	return c, err
}

func (c *Counts) put(tx *store.Tx) {
	var b []byte
	for _, f := range c.fields() {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	tx.Set(countsKey, b)
}

// InFlight returns how many URLs were in flight at the last commit. After a crash they are fetched again.
func InFlight(r store.Reader) (int, error) {
	n, err := readNumbers(r)
	return int(n.flying), err
}

// mostTypes is how many MIME types are counted apart: servers make them up.
const mostTypes = 1000

// otherTypes stands for all further types.
const otherTypes = "other"

// Statuses returns how many URLs had each status.
func Statuses(r store.Reader) (map[int]uint64, error) {
	all := map[int]uint64{}
	err := tallies(r, key('s'), func(k []byte, n uint64) error {
		if len(k) != 4 {
			return fault.New(fault.Corrupt, "a status of the frontier is %x", k)
		}
		all[int(int32(binary.BigEndian.Uint32(k)^1<<31))] = n
		return nil
	})
	return all, err
}

// TypeCount is what is known of a MIME type.
type TypeCount struct{ URLs, Bytes uint64 }

// Types returns how many URLs had each MIME type, and how many bytes came of it.
func Types(r store.Reader) (map[string]TypeCount, error) {
	all := map[string]TypeCount{}
	err := tallies(r, key('t'), func(k []byte, n uint64) error {
		all[string(k)] = TypeCount{URLs: n}
		return nil
	})
	if err != nil {
		return all, err
	}
	return all, tallies(r, key('b'), func(k []byte, n uint64) error {
		all[string(k)] = TypeCount{URLs: all[string(k)].URLs, Bytes: n}
		return nil
	})
}

// tallies reads the counters whose keys begin so.
func tallies(r store.Reader, prefix store.Key, each func(k []byte, n uint64) error) error {
	entries, failed := r.Scan(prefix, prefix.End())
	for k, v := range entries {
		if len(v) != 8 {
			return fault.New(fault.Corrupt, "a counter of the frontier is %x: %x", k, v)
		}
		if n := binary.BigEndian.Uint64(v); n > 0 {
			if err := each(k[len(prefix):], n); err != nil {
				return err
			}
		}
	}
	return failed()
}

// tally adds to a counter, which is written with the batch.
func (b *Batch) tally(k store.Key, n int64) error {
	_, err := b.tallied(k, n)
	return err
}

func (b *Batch) tallied(k store.Key, n int64) (known bool, err error) {
	v, known := b.tallies[string(k)]
	if !known {
		known, err = b.tx.Look(k, func(b []byte) error {
			if len(b) != 8 {
				return fault.New(fault.Corrupt, "a counter of the frontier is %x: %x", []byte(k), b)
			}
			v = binary.BigEndian.Uint64(b)
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	b.tallies[string(k)] = v + uint64(n)
	return known, nil
}

// countType counts a MIME type; if there are too many, it counts among otherTypes.
func (b *Batch) countType(mime string, bytes uint64) error {
	k := typeKey(mime)
	known, err := b.tallied(k, 1)
	if err == nil && known {
		err = b.tally(typeBytesKey(mime), int64(bytes))
	}
	if err != nil || known {
		return err
	}
	if b.types == 0 { // once a batch: with mostTypes in the store this takes as long as the rest of the visit
		entries, failed := b.tx.Scan(key('t'), key('t').End())
		for range entries {
			b.types++
		}
		if err := failed(); err != nil {
			return err
		}
	}
	if b.types < mostTypes {
		b.types++
		return b.tally(typeBytesKey(mime), int64(bytes))
	}
	delete(b.tallies, string(k))
	if err := b.tally(typeBytesKey(otherTypes), int64(bytes)); err != nil {
		return err
	}
	return b.tally(typeKey(otherTypes), 1)
}
