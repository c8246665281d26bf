package identity

import (
	"encoding/binary"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// meta is what a Hashed set knows of itself. Times are Unix seconds, 0 for never.
type meta struct {
	total    uint64
	believed int64  // the latest time that was believed
	jumped   int64  // where a clock that is not believed landed; 0 while it is
	last     int64  // the time of the last call of Expire
	floor    uint32 // keys of earlier days may be gone
}

const metaBytes = 1 + 4*8 + 4

func (h *Hashed) meta(r store.Reader) (meta, error) {
	v, ok, err := r.Get(h.metaKey())
	if err != nil || !ok {
		return meta{}, err
	}
	m, err := decodeMeta(h.metaKey(), v)
	if err != nil {
		return meta{}, fmt.Errorf("read identity set %q: %w", h.name, err)
	}
	return m, nil
}

func decodeMeta(key store.Key, v []byte) (meta, error) {
	b, err := unseal(key, v, metaBytes)
	if err == nil && len(b) != metaBytes {
		err = fault.New(fault.Corrupt, "set has %d bytes", len(b))
	}
	if err != nil {
		return meta{}, err
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return meta{u(0), int64(u(1)), int64(u(2)), int64(u(3)), binary.BigEndian.Uint32(b[33:])}, nil
}

func (h *Hashed) setMeta(tx *store.Tx, m meta) {
	b := []byte{version}
	for _, n := range []uint64{m.total, uint64(m.believed), uint64(m.jumped), uint64(m.last)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	tx.Set(h.metaKey(), seal(h.metaKey(), binary.BigEndian.AppendUint32(b, m.floor)))
}

// Expiry is what one call of Expire did.
type Expiry struct {
	Removed int
	// More: the limit was reached and there is more to do now.
	More bool
	// Suspended: the clock has jumped, and nothing is forgotten until it can be believed again.
	Suspended bool
}

// Expire forgets keys whose time is before the horizon, at most limit of them. It is to be called
// every few minutes with the time of the clock, and again at once while there is more.
func (h *Hashed) Expire(tx *store.Tx, now time.Time, limit int) (Expiry, error) {
	m, err := h.meta(tx)
	if err != nil {
		return Expiry{}, err
	}
	m.tick(now.Unix(), int64(h.tolerance().Seconds()))
	x := Expiry{Suspended: m.jumped != 0}
	if !x.Suspended {
		m.floor = max(m.floor, dayOf(time.Unix(m.believed, 0).Add(-h.horizon)))
		if err := h.forget(tx, &m, &x, limit); err != nil {
			return Expiry{}, err
		}
		if err := h.refile(tx, m, &x, limit-x.Removed); err != nil {
			return Expiry{}, err
		}
	}
	h.setMeta(tx, m)
	return x, nil
}

// tolerance is how far the clock may move between two calls and still be believed.
func (h *Hashed) tolerance() time.Duration { return max(h.horizon/10, 2*time.Hour) }

// tick takes the time of the clock in.
func (m *meta) tick(now, tolerance int64) {
	near := func(a, b int64) bool { return a-b <= tolerance && b-a <= tolerance }
	switch {
	case m.believed == 0: // the first call
		m.believed = now
	case m.jumped == 0 && near(now, m.last), m.jumped != 0 && near(now, m.believed):
		// Running, or back from a jump. A small step back is not followed.
		m.believed, m.jumped = max(m.believed, now), 0
	case m.jumped == 0, !near(now, m.last):
		m.jumped = now
	case now-m.jumped >= tolerance:
		m.believed, m.jumped = now, 0
	}
	m.last = now
}

// forget removes up to limit keys that are filed under days before the floor.
func (h *Hashed) forget(tx *store.Tx, m *meta, x *Expiry, limit int) error {
	entries, fail := tx.Scan(h.dayKey(0), h.dayKey(m.floor))
	for k := range entries {
		if x.Removed == limit {
			x.More = true
			break
		}
		x.Removed++
		day, hash := splitFiled(k)
		tx.Delete(h.filedKey(day, hash))
		// After a salvage a key may be filed twice: its own word counts.
		filed, ok, err := h.day(tx, hash)
		if err != nil {
			return err
		}
		if ok && filed == day {
			tx.Delete(h.key(hash))
			m.total -= min(m.total, 1)
		}
	}
	return h.wrap(fail)
}

// refile brings keys back that were filed by a clock that was ahead: they would stay for ever.
func (h *Hashed) refile(tx *store.Tx, m meta, x *Expiry, limit int) error {
	ahead := time.Unix(m.believed, 0).Add(h.tolerance() + 24*time.Hour)
	today := dayOf(time.Unix(m.believed, 0))
	entries, fail := tx.Scan(h.dayKey(dayOf(ahead)+1), store.Horizons.K().U32(h.id).End())
	for k := range entries {
		if limit--; limit < 0 {
			x.More = true
			break
		}
		day, hash := splitFiled(k)
		tx.Delete(h.filedKey(day, hash))
		if filed, ok, err := h.day(tx, hash); err != nil {
			return err
		} else if ok && filed == day {
			h.file(tx, today, hash)
		}
	}
	return h.wrap(fail)
}

func (h *Hashed) wrap(fail func() error) error {
	if err := fail(); err != nil {
		return fmt.Errorf("expire identity set %q: %w", h.name, err)
	}
	return nil
}

// splitFiled reads a key of Horizons.
func splitFiled(k []byte) (day uint32, hash Hash) {
	return binary.BigEndian.Uint32(k[5:]), Hash(k[9:])
}
