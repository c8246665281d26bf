package frontier

import (
	"encoding/binary"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Counts say how many URLs there are. They change with what they count, so reading them costs the same however many that are.
// Known is the sum of Queued, Waiting, Done, Failed and Left.
type Counts struct {
	Known   uint64 // all that were ever seen
	Queued  uint64 // to be fetched, those in flight among them
	Waiting uint64 // put off until they are tried again
	Done    uint64
	Failed  uint64
	Left    uint64 // not fetched, and never will be: robots.txt or the scope forbid it
	Bytes   uint64 // of what was fetched
	Hosts   uint64
}

func (c *Counts) fields() []*uint64 {
	return []*uint64{&c.Known, &c.Queued, &c.Waiting, &c.Done, &c.Failed, &c.Left, &c.Bytes, &c.Hosts}
}

// ReadCounts reads the counters.
func ReadCounts(r store.Reader) (c Counts, err error) {
	_, err = r.Look(countsKey, func(v []byte) error {
		fields := c.fields()
		if len(v) != 8*len(fields) {
			return fault.New(fault.Corrupt, "the counters of the frontier are %x", v)
		}
		for i, f := range fields {
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

// InFlight is how many URLs were in flight at the last commit: after a crash those are fetched again.
func InFlight(r store.Reader) (int, error) {
	n, err := readNumbers(r)
	return int(n.flying), err
}

// mostTypes is how many MIME types are counted apart: servers make them up.
const mostTypes = 1000

// otherTypes are all behind those.
const otherTypes = "other"

// Statuses returns how many URLs had each status.
func Statuses(r store.Reader) (map[int]uint64, error) {
	all := map[int]uint64{}
	entries, failed := r.Scan(key('s'), key('s').End())
	for k, v := range entries {
		if len(k) != 7 || len(v) != 8 {
			return nil, fault.New(fault.Corrupt, "a counter of the frontier is %x: %x", k, v)
		}
		all[int(int32(binary.BigEndian.Uint32(k[3:])^1<<31))] = binary.BigEndian.Uint64(v)
	}
	return all, failed()
}

// Types returns how many URLs had each MIME type.
func Types(r store.Reader) (map[string]uint64, error) {
	all := map[string]uint64{}
	entries, failed := r.Scan(key('t'), key('t').End())
	for k, v := range entries {
		if len(v) != 8 {
			return nil, fault.New(fault.Corrupt, "a counter of the frontier is %x: %x", k, v)
		}
		all[string(k[3:])] = binary.BigEndian.Uint64(v)
	}
	return all, failed()
}

// bump adds one to a counter.
func bump(tx *store.Tx, k store.Key) (known bool, err error) {
	n := uint64(0)
	known, err = tx.Look(k, func(v []byte) error {
		if len(v) != 8 {
			return fault.New(fault.Corrupt, "a counter of the frontier is %x: %x", []byte(k), v)
		}
		n = binary.BigEndian.Uint64(v)
		return nil
	})
	if err == nil {
		tx.Set(k, binary.BigEndian.AppendUint64(nil, n+1))
	}
	return known, err
}
