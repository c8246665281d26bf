package balance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Stage says where an item died.
type Stage string

// The stages of dead letters.
const (
	AtIntake Stage = "intake" // an item that did not become a row: it counts as rejected
	AtSink   Stage = "sink"   // a row that one sink can't hold: it counts as dead there
	AtTask   Stage = "task"   // a task that can't be done
)

// DeadLetter is an item that can't go on, kept with the reason until a person decides. A row is kept whole;
// of an item that was no row, what the source gave: wsprnet gives at most the first 64 KiB of it.
type DeadLetter struct {
	ID     uint64    `json:"id"`
	At     time.Time `json:"at"`
	Stage  Stage     `json:"stage"`
	From   string    `json:"from"`          // name of the source or sink
	FromID uint32    `json:"from_id"`       // its id, so that a reused name inherits nothing
	Seq    uint64    `json:"seq,omitempty"` // block of the row
	Row    uint32    `json:"row,omitempty"` // row within the block
	Key    string    `json:"key,omitempty"`
	Reason string    `json:"reason"`
	Raw    []byte    `json:"raw,omitempty"`       // the item as the source gave it
	Batch  []byte    `json:"row_bytes,omitempty"` // the row as a batch of one
	Hash   []byte    `json:"row_hash,omitempty"`  // content hash of Batch
}

var keyNextDead = store.Meta.K().Str("next-dead")

func deadKey(id uint64) store.Key { return store.Dead.K().U64(id) }

// Bury keeps a dead letter and returns its id. It does not count: the commit that buries also moves
// the item between the terms of its law.
func Bury(tx *store.Tx, d DeadLetter) (uint64, error) {
	d.ID = 1
	v, ok, err := tx.Get(keyNextDead)
	if err != nil {
		return 0, fmt.Errorf("read next dead letter id: %w", err)
	}
	if ok && len(v) == 8 {
		d.ID = binary.BigEndian.Uint64(v)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return 0, fmt.Errorf("write dead letter: %w", err)
	}
	if err := addDead(tx, 1); err != nil {
		return 0, err
	}
	tx.Set(deadKey(d.ID), b)
	tx.Set(keyNextDead, binary.BigEndian.AppendUint64(nil, d.ID+1))
	return d.ID, nil
}

// Exhume returns a dead letter and removes it, for a retry or a discard in the same transaction.
func Exhume(tx *store.Tx, id uint64) (DeadLetter, error) {
	d, err := ReadDead(tx, id)
	if err != nil {
		return d, err
	}
	if err := addDead(tx, -1); err != nil {
		return d, err
	}
	tx.Delete(deadKey(id))
	return d, nil
}

// Letters is how many dead letters there are, by the counter that is kept with them. A store that none was
// buried in since it has the counter is counted.
func Letters(r store.Reader) (int64, error) {
	_, kept, err := r.Get(counterKey(lawDead, 0))
	if err == nil && kept {
		v, err := read(r, lawDead, 0, 1)
		if err != nil {
			return 0, fmt.Errorf("count dead letters: %w", err)
		}
		return v[0], nil
	}
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	n, _, err := CountDead(r)
	return n, err
}

// KeepLetters begins the counter of dead letters in a store that has none yet.
func KeepLetters(tx *store.Tx) error {
	_, kept, err := tx.Get(counterKey(lawDead, 0))
	if err != nil || kept {
		return err
	}
	return addDead(tx, 0)
}

// addDead counts before what it counts is written.
func addDead(tx *store.Tx, d int64) error {
	n, err := Letters(tx)
	if err != nil {
		return err
	}
	set(tx, lawDead, 0, []int64{n + d})
	return nil
}

// RecountDead makes the counter fit the dead letters, after a salvage.
func RecountDead(tx *store.Tx) error {
	n, _, err := CountDead(tx)
	if err != nil {
		return err
	}
	set(tx, lawDead, 0, []int64{n})
	return nil
}

// ReadDead returns one dead letter; a NotFound fault if there is none with that id.
func ReadDead(r store.Reader, id uint64) (d DeadLetter, err error) {
	v, ok, err := r.Get(deadKey(id))
	if err != nil {
		return d, err
	}
	if !ok {
		return d, fault.New(fault.NotFound, "there is no dead letter %d", id)
	}
	if err := json.Unmarshal(v, &d); err != nil {
		return d, fault.New(fault.Corrupt, "read dead letter %d: %w", id, err)
	}
	return d, nil
}

// EachDead calls f for every dead letter, and returns its first error.
func EachDead(r store.Reader, f func(DeadLetter) error) error {
	for after := uint64(0); ; {
		some, err := ListDead(r, after, 1000)
		if err != nil || len(some) == 0 {
			return err
		}
		for _, d := range some {
			if err := f(d); err != nil {
				return err
			}
			after = d.ID
		}
	}
}

// mostListed is about how many bytes of letters one list has: a row may be as large as its source allows.
const mostListed = 8 << 20

// ListDead returns dead letters behind id after, oldest first, at most max. There may be more behind fewer of
// them, where they are large; behind none there are none.
func ListDead(r store.Reader, after uint64, max int) ([]DeadLetter, error) {
	var out []DeadLetter
	bytes := 0
	seq, fail := r.Scan(deadKey(after+1), store.Dead.K().End())
	for k, v := range seq {
		var d DeadLetter
		if err := json.Unmarshal(v, &d); err != nil {
			return nil, fault.New(fault.Corrupt, "read dead letter %x: %w", k, err)
		}
		bytes += len(v)
		if out = append(out, d); len(out) == max || bytes >= mostListed {
			break
		}
	}
	return out, fail()
}
