package transfer

import (
	"encoding/binary"
	"strings"

	"holdfast/base/fault"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Tally is what a job has done, ever.
type Tally struct {
	Taken  int64 // files that came
	Open   int64 // are on their way
	Passed int64 // went no further: the ledger had them, or they were gone
	Dead   int64 // wait for a person
	// Sent is what each destination got.
	Sent map[string]Sent
}

// Sent is what a destination got.
type Sent struct{ Files, Bytes int64 }

// ReadTally reads the tally from the job's store, in a time that does not depend on how much was done.
func ReadTally(r store.Reader) (t Tally, err error) {
	t.Sent = map[string]Sent{}
	names, err := store.NamesOf(r, store.QueueName)
	if err != nil {
		return t, err
	}
	shipping := int64(0)
	for name, id := range names {
		c, err := queue.ReadCounts(r, id)
		if err != nil {
			return t, err
		}
		t.Dead += int64(c.Dead)
		switch destination, ship := strings.CutPrefix(name, shipPrefix); {
		case name == prepareName:
			t.Taken, t.Passed, t.Open = int64(c.Put), int64(c.Dropped), int64(c.Open())
		case ship:
			shipping = max(shipping, int64(c.Open()))
			bytes, err := bytesOf(r, destination)
			if err != nil {
				return t, err
			}
			t.Sent[destination] = Sent{int64(c.Done), bytes}
		}
	}
	t.Open += shipping
	return t, nil
}

// count adds to the bytes that the destination got.
func (t *destination) count(tx *store.Tx, bytes int64) error {
	n, err := bytesOf(tx, t.Name)
	tx.Set(bytesKey(t.Name), binary.BigEndian.AppendUint64(nil, uint64(n+bytes)))
	return err
}

// bytesOf is what the files have that a destination got.
func bytesOf(r store.Reader, destination string) (int64, error) {
	v, ok, err := r.Get(bytesKey(destination))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fault.New(fault.Corrupt, "the bytes of %s are a number of %d bytes", destination, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}
