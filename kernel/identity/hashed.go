package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Hash stands for a key that is not an integer: 16 bytes of SHA-256, so that nobody who chooses
// keys can make two of them one.
type Hash [16]byte

// HashOf returns the hash of a key that consists of parts; ("ab", "c") is another key than ("a",
// "bc").
func HashOf(parts ...[]byte) Hash {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return Hash(h.Sum(nil))
}

// Seen is a key with its time: when the row happened, or when it came if it does not say.
type Seen struct {
	Hash Hash
	At   time.Time
}

// Verdict says what a Hashed set knows of a key.
type Verdict uint8

const (
	// New: the set has not seen the key, and would know if it had.
	New Verdict = iota
	// Known: the set has seen the key.
	Known
	// Beyond: the key's time is before all that the set remembers. Only the sink can tell.
	Beyond
)

// Hashed is a set of hashed keys that are remembered for a horizon from their time, in steps of a
// day, and up to a day longer.
//
// Expiry follows the clock only while the clock can be believed. One that has moved by more than a
// tenth of the horizon (at least two hours) between two calls of Expire, in either direction, has
// jumped, or nobody called for that long, which looks the same: expiry is then suspended until the
// clock has run on for a tenth of the horizon without another jump, or is back where it was. What
// is kept for too long costs room; what is forgotten too early is a row taken in twice.
type Hashed struct {
	id      uint32
	name    string
	horizon time.Duration
}

// OpenHashed returns the set of this name, which is empty if there was none. The horizon may be
// another than last time: a longer one can't bring back what was forgotten, see Since.
func OpenHashed(st *store.Store, name string, horizon time.Duration) (*Hashed, error) {
	if horizon <= 0 {
		return nil, fault.New(fault.Invalid, "open identity set %q: its horizon is %v", name, horizon)
	}
	id, err := idOf(st, name)
	if err != nil {
		return nil, fmt.Errorf("open identity set %q: %w", name, err)
	}
	return &Hashed{id: id, name: name, horizon: horizon}, nil
}

// Name is the name the set was opened by.
func (h *Hashed) Name() string { return h.name }

// Check says of each key what the set knows of it; of several that are the same, all but the first
// are Known.
func (h *Hashed) Check(r store.Reader, keys []Seen) ([]Verdict, error) {
	m, err := h.meta(r)
	if err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(keys))
	earlier := make(map[Hash]bool, len(keys))
	for i, k := range keys {
		if earlier[k.Hash] {
			verdicts[i] = Known
			continue
		}
		earlier[k.Hash] = true
		_, ok, err := h.day(r, k.Hash)
		switch {
		case err != nil:
			return nil, err
		case ok:
			verdicts[i] = Known
		case dayOf(k.At) < m.floor:
			verdicts[i] = Beyond
		}
	}
	return verdicts, nil
}

// Add remembers keys and returns how many were New. A key that is known already is kept for as long
// as its latest time asks. One that is Beyond is not kept. now is the clock's time: a key from the
// future is filed under it.
func (h *Hashed) Add(tx *store.Tx, now time.Time, keys []Seen) (added int, err error) {
	m, err := h.meta(tx)
	if err != nil {
		return 0, err
	}
	for _, k := range keys {
		day := min(dayOf(k.At), dayOf(now))
		was, known, err := h.day(tx, k.Hash)
		switch {
		case err != nil:
			return 0, err
		case known && was >= day, !known && day < m.floor:
			continue
		case known:
			tx.Delete(h.filedKey(was, k.Hash))
		default:
			added++
		}
		h.file(tx, day, k.Hash)
	}
	if added > 0 {
		m.total += uint64(added)
		h.setMeta(tx, m)
	}
	return added, nil
}

// Total is the number of keys that the set holds.
func (h *Hashed) Total(r store.Reader) (uint64, error) {
	m, err := h.meta(r)
	return m.total, err
}

// Rebuild makes a set whole after a salvage, which keeps key by key what can be read: it drops what
// is damaged, files every key under its day and counts. Nobody else may use the set meanwhile.
func (h *Hashed) Rebuild(ctx context.Context, st *store.Store) (kept, dropped uint64, err error) {
	from := h.key(Hash{})
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return kept, dropped, err
		}
		err := st.Update(func(tx *store.Tx) error {
			more = false
			n := 0
			entries, fail := tx.Scan(from, h.metaKey().End())
			for k, v := range entries {
				if n++; n > 5000 {
					from, more = append(store.Key(nil), k...), true
					break
				}
				if day, err := decodeDay(k, v); err != nil {
					tx.Delete(append(store.Key(nil), k...))
					dropped++
				} else {
					tx.Set(h.filedKey(day, Hash(k[5:])), nil)
					kept++
				}
			}
			return fail()
		})
		if err != nil {
			return kept, dropped, fmt.Errorf("rebuild identity set %q: %w", h.name, err)
		}
	}
	err = st.Update(func(tx *store.Tx) error {
		m, _ := h.meta(tx) // an unreadable one begins anew: nothing is known to be forgotten
		m.total = kept
		h.setMeta(tx, m)
		return nil
	})
	return kept, dropped, err
}

const daySeconds = 24 * 60 * 60

// dayOf is the day of a time since 1970; what is earlier is day 0.
func dayOf(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0)/daySeconds, 1<<32-1)) }

func (h *Hashed) metaKey() store.Key      { return store.Hashes.K().U32(h.id) }
func (h *Hashed) key(hash Hash) store.Key { return h.metaKey().Raw(hash[:]) }
func (h *Hashed) dayKey(day uint32) store.Key {
	return store.Horizons.K().U32(h.id).U32(day)
}
func (h *Hashed) filedKey(day uint32, hash Hash) store.Key { return h.dayKey(day).Raw(hash[:]) }

// file writes the two keys of a hash.
func (h *Hashed) file(tx *store.Tx, day uint32, hash Hash) {
	key := h.key(hash)
	tx.Set(key, seal(key, binary.BigEndian.AppendUint32([]byte{version}, day)))
	tx.Set(h.filedKey(day, hash), nil)
}

// day returns the day a hash is filed under.
func (h *Hashed) day(r store.Reader, hash Hash) (day uint32, ok bool, err error) {
	key := h.key(hash)
	v, ok, err := r.Get(key)
	if err == nil && ok {
		day, err = decodeDay(key, v)
	}
	if err != nil {
		return 0, false, fmt.Errorf("read identity set %q, hash %x: %w", h.name, hash, err)
	}
	return day, ok, nil
}

func decodeDay(key store.Key, v []byte) (uint32, error) {
	b, err := unseal(key, v, 5)
	if err == nil && (len(b) != 5 || len(key) != 21) {
		err = fault.New(fault.Corrupt, "hash has %d bytes, its value %d", len(key)-5, len(b))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[1:]), nil
}
