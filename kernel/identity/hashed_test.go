package identity

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

const day = 24 * time.Hour

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openHashed(t testing.TB, st *store.Store, horizon time.Duration) *Hashed {
	t.Helper()
	h, err := OpenHashed(st, "rows", horizon)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func key(n uint64) Hash { return HashOf(binary.BigEndian.AppendUint64(nil, n)) }

func addHashed(t testing.TB, st *store.Store, h *Hashed, now time.Time, keys ...Seen) (added int) {
	t.Helper()
	update(t, st, func(tx *store.Tx) (err error) {
		added, err = h.Add(tx, now, keys)
		return err
	})
	return added
}

func expire(t testing.TB, st *store.Store, h *Hashed, now time.Time, limit int) (x Expiry) {
	t.Helper()
	update(t, st, func(tx *store.Tx) (err error) {
		x, err = h.Expire(tx, now, limit)
		return err
	})
	return x
}

func check(t testing.TB, st *store.Store, h *Hashed, keys ...Seen) (got []Verdict) {
	t.Helper()
	view(t, st, func(r store.Reader) (err error) {
		got, err = h.Check(r, keys)
		return err
	})
	return got
}

func TestHashOfKeepsPartsApart(t *testing.T) {
	if HashOf([]byte("ab"), []byte("c")) == HashOf([]byte("a"), []byte("bc")) {
		t.Error("two keys are one")
	}
}

func TestHashedVerdicts(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	h := openHashed(t, st, 30*day)
	old := Seen{key(1), noon.Add(-40 * day)}
	if n := addHashed(t, st, h, noon, old, Seen{key(2), noon}, Seen{key(2), noon}); n != 2 {
		t.Errorf("added %d, want 2", n)
	}
	if x := expire(t, st, h, noon, 10); x != (Expiry{Removed: 1}) {
		t.Errorf("expire: got %+v", x)
	}
	got := check(t, st, h, old, Seen{key(2), noon}, Seen{key(3), noon}, Seen{key(3), noon},
		Seen{key(4), noon.Add(-31 * day)})
	if want := []Verdict{Beyond, Known, New, Known, Beyond}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := addHashed(t, st, h, noon, old); n != 0 {
		t.Errorf("a key beyond the horizon was kept")
	}
	if _, err := OpenHashed(st, "rows", 0); !fault.Is(err, fault.Invalid) {
		t.Errorf("a horizon of 0: got %v", err)
	}
}

func TestARepeatIsKeptAsLongAsItsLatestTimeAsks(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	h := openHashed(t, st, 30*day)
	addHashed(t, st, h, noon, Seen{key(1), noon.Add(-29 * day)})
	addHashed(t, st, h, noon, Seen{key(1), noon})
	addHashed(t, st, h, noon, Seen{key(1), noon.Add(-20 * day)}) // does not shorten it
	expire(t, st, h, noon, 10)
	for d := range 28 {
		if x := expire(t, st, h, noon.Add(time.Duration(d)*day), 10); x != (Expiry{}) {
			t.Fatalf("day %d: %+v", d, x)
		}
	}
	if got := check(t, st, h, Seen{key(1), noon}); got[0] != Known {
		t.Error("it was forgotten after the time of its first sight")
	}
}

// A clock's readings, and which of them expiry follows: the key of noon is due 31 days later.
func TestExpirySuspendsWhenTheClockJumps(t *testing.T) {
	for _, c := range []struct {
		name string
		// the clock's readings, in days after noon
		clock []float64
		// whether expiry is suspended after each
		suspended []bool
		forgotten bool
	}{
		{"runs", []float64{0, 2, 4, 31, 32, 33, 34.5, 36}, []bool{false, false, false, true, true, true, false, false},
			true},
		{"jumps ahead and back", []float64{0, 40, 1, 2}, []bool{false, true, false, false}, false},
		{"jumps ahead and stays", []float64{0, 40, 41, 42, 43.5}, []bool{false, true, true, true, false}, true},
		{"jumps twice", []float64{0, 40, 42, 80, 82, 83.5}, []bool{false, true, true, true, true, false}, true},
		{"jumps back and stays", []float64{0, -20, -18, -16.5}, []bool{false, true, true, false}, false},
		{"wanders", []float64{0, -2, 0, 2, 1, 3}, []bool{false, false, false, false, false, false}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := storetest.Open(t, t.TempDir())
			h := openHashed(t, st, 30*day)
			addHashed(t, st, h, noon, Seen{key(1), noon})
			for i, d := range c.clock {
				x := expire(t, st, h, noon.Add(time.Duration(d*float64(day))), 10)
				if x.Suspended != c.suspended[i] {
					t.Errorf("day %v: suspended %v, want %v", d, x.Suspended, c.suspended[i])
				}
				if x.Suspended && x.Removed > 0 {
					t.Errorf("day %v: removed %d while suspended", d, x.Removed)
				}
			}
			got := check(t, st, h, Seen{key(1), noon.Add(1000 * day)})[0]
			if want := map[bool]Verdict{true: New, false: Known}[c.forgotten]; got != want {
				t.Errorf("in the end: got %v, want %v", got, want)
			}
		})
	}
}

// A clock that was ahead for a while files keys under days that do not come for years.
func TestKeysFromTheFutureExpireToo(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	h := openHashed(t, st, 30*day)
	expire(t, st, h, noon, 10)
	ahead := noon.Add(5000 * day)
	for i := range uint64(5) {
		addHashed(t, st, h, ahead, Seen{key(i), ahead})
	}
	expire(t, st, h, ahead, 10)
	if x := expire(t, st, h, noon, 3); !x.More {
		t.Errorf("three of five: got %+v", x)
	}
	expire(t, st, h, noon, 3)
	removed := 0
	for d := range 35 {
		removed += expire(t, st, h, noon.Add(time.Duration(d)*day), 10).Removed
	}
	if removed != 5 {
		t.Errorf("%d of 5 keys expired", removed)
	}
}

func TestExpiryIsBounded(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	h := openHashed(t, st, 2*day)
	for i := range uint64(100) {
		addHashed(t, st, h, noon, Seen{key(i), noon.Add(-10 * day)})
	}
	for i := range 4 {
		x := expire(t, st, h, noon, 30)
		if want := (Expiry{Removed: []int{30, 30, 30, 10}[i], More: i < 3}); x != want {
			t.Errorf("step %d: got %+v, want %+v", i, x, want)
		}
	}
	view(t, st, func(r store.Reader) error {
		if n, err := h.Total(r); n != 0 || err != nil {
			t.Errorf("total %d %v", n, err)
		}
		return nil
	})
}

func TestRebuildAfterDamage(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	h := openHashed(t, st, 30*day)
	for i := range uint64(12) {
		addHashed(t, st, h, noon, Seen{key(i), noon.Add(-20 * day)})
	}
	update(t, st, func(tx *store.Tx) error {
		tx.Delete(h.metaKey())
		tx.DeleteRange(h.dayKey(0), store.Horizons.K().End())
		v, _, err := tx.Get(h.key(key(3)))
		v[2] ^= 4
		tx.Set(h.key(key(3)), v)
		return err
	})
	if err := st.View(t.Context(), func(r store.Reader) error {
		_, err := h.Check(r, []Seen{{key(3), noon}})
		return err
	}); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a damaged hash: got %v", err)
	}
	if kept, dropped, err := h.Rebuild(t.Context(), st); kept != 11 || dropped != 1 || err != nil {
		t.Errorf("kept %d, dropped %d, %v", kept, dropped, err)
	}
	expire(t, st, h, noon, 100)
	removed := 0
	for d := range 14 {
		removed += expire(t, st, h, noon.Add(time.Duration(d)*day), 100).Removed
	}
	if removed != 11 {
		t.Errorf("%d of 11 expired", removed)
	}
}

// hashedState is what a hashed set should hold: the day of each key, and the day before which it
// has forgotten.
type hashedState struct {
	days  map[uint64]uint32
	floor uint32
}

func (s hashedState) clone() hashedState { return hashedState{maps.Clone(s.days), s.floor} }

func (s hashedState) equal(o hashedState) bool {
	return s.floor == o.floor && maps.Equal(s.days, o.days)
}

type hashedMachine struct {
	tb     testing.TB
	fs     *storetest.CrashFS
	st     *store.Store
	h      *Hashed
	clock  time.Time
	now    hashedState
	states []hashedState // the last durable state and those after it
}

func (m *hashedMachine) open() {
	var err error
	if m.st, err = store.Open("/job", storetest.Options(m.tb, m.fs.FS())); err != nil {
		m.tb.Fatal(err)
	}
	m.h = openHashed(m.tb, m.st, 20*day)
}

// commit runs f durably or not. Whatever f does it writes something.
func (m *hashedMachine) commit(t *rapid.T, f func(tx *store.Tx, next *hashedState) error) {
	next := m.now.clone()
	do, lazy := m.st.Update, rapid.Bool().Draw(t, "lazy")
	if lazy {
		do = m.st.UpdateLazy
	}
	if err := do(func(tx *store.Tx) error {
		tx.Set(store.Job.K().Str("touch"), nil)
		return f(tx, &next)
	}); err != nil {
		t.Fatal(err)
	}
	if m.now = next; !lazy {
		m.states = nil
	}
	m.states = append(m.states, next)
}

func (m *hashedMachine) add(t *rapid.T) {
	keys, ids := []Seen{}, []uint64{}
	for range rapid.IntRange(1, 20).Draw(t, "n") {
		id := rapid.Uint64Range(0, 20).Draw(t, "id")
		at := m.clock.Add(time.Duration(rapid.IntRange(-30, 3).Draw(t, "at")) * day)
		keys, ids = append(keys, Seen{key(id), at}), append(ids, id)
	}
	m.commit(t, func(tx *store.Tx, next *hashedState) error {
		got, err := m.h.Check(tx, keys)
		if err != nil {
			return err
		}
		earlier := map[uint64]bool{}
		for i, id := range ids {
			want := New
			if _, ok := next.days[id]; ok || earlier[id] {
				want = Known
			} else if dayOf(keys[i].At) < next.floor {
				want = Beyond
			}
			earlier[id] = true
			if got[i] != want {
				t.Fatalf("key %d at %v: got %v, want %v", id, keys[i].At, got[i], want)
			}
		}
		before := len(next.days)
		for i, id := range ids {
			day := min(dayOf(keys[i].At), dayOf(m.clock))
			if was, ok := next.days[id]; ok && was < day || !ok && day >= next.floor {
				next.days[id] = day
			}
		}
		added, err := m.h.Add(tx, m.clock, keys)
		if want := len(next.days) - before; added != want {
			t.Fatalf("added %d, want %d", added, want)
		}
		return err
	})
}

func (m *hashedMachine) expire(t *rapid.T) {
	m.clock = m.clock.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hours")) * time.Hour)
	limit := rapid.IntRange(1, 200).Draw(t, "limit")
	m.commit(t, func(tx *store.Tx, next *hashedState) error {
		x, err := m.h.Expire(tx, m.clock, limit)
		if err != nil || x.Suspended && (x.Removed > 0 || x.More) {
			t.Fatalf("got %+v, %v", x, err)
		}
		if x.Suspended { // a cut took the latest readings of the clock
			return nil
		}
		next.floor = dayOf(m.clock.Add(-20 * day))
		due := 0
		for id, day := range next.days {
			if day < next.floor {
				due++
			}
			if _, ok, err := m.h.day(tx, key(id)); err == nil && !ok {
				if day >= next.floor {
					t.Fatalf("key %d of day %d is gone, the floor is %d", id, day, next.floor)
				}
				delete(next.days, id)
			}
		}
		if want := min(due, limit); x.Removed != want || x.More != (due > limit) {
			t.Fatalf("due %d, limit %d: got %+v", due, limit, x)
		}
		return nil
	})
}

func (m *hashedMachine) cut(t *rapid.T) {
	fs := m.fs.After(rapid.IntRange(0, 100).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
	if err := m.st.Close(); err != nil {
		t.Fatal(err)
	}
	m.fs = fs
	m.open()
	found := m.read(t)
	if !slices.ContainsFunc(m.states, found.equal) {
		t.Fatalf("after the cut it holds %v, which it never did since the last durable commit", found)
	}
	m.now, m.states = found, []hashedState{found}
}

// read reads all that is stored, and checks that its parts agree.
func (m *hashedMachine) read(t *rapid.T) hashedState {
	got := hashedState{days: map[uint64]uint32{}}
	err := m.st.Latest(func(r store.Reader) error {
		for id := range uint64(21) {
			if day, ok, err := m.h.day(r, key(id)); err != nil {
				return err
			} else if ok {
				got.days[id] = day
				if _, filed, err := r.Get(m.h.filedKey(day, key(id))); !filed || err != nil {
					t.Fatalf("key %d is not filed under its day (%v)", id, err)
				}
			}
		}
		meta, err := m.h.meta(r)
		got.floor = meta.floor
		filed, fail := r.Scan(m.h.dayKey(0), store.Horizons.K().End())
		n := 0
		for range filed {
			n++
		}
		if int(meta.total) != len(got.days) || n != len(got.days) {
			t.Fatalf("total %d, filed %d, there are %d", meta.total, n, len(got.days))
		}
		if err == nil {
			err = fail()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHashedAgainstModelWithPowerCuts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &hashedMachine{tb: t, fs: storetest.NewCrashFS(), clock: noon}
		m.now = hashedState{days: map[uint64]uint32{}}
		m.states = []hashedState{m.now}
		m.open()
		defer func() { m.st.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"add":    m.add,
			"expire": m.expire,
			"cut":    m.cut,
			"": func(t *rapid.T) {
				if got := m.read(t); !got.equal(m.now) {
					t.Fatalf("got %v, want %v", got, m.now)
				}
			},
		})
	})
}

func FuzzDecodeHashed(f *testing.F) {
	h := &Hashed{id: 1, name: "rows", horizon: day}
	f.Add([]byte(h.metaKey()), make([]byte, metaBytes))
	f.Add([]byte(h.key(key(1))), []byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		v = seal(k, slices.Clone(v))
		_, err1 := decodeMeta(k, v)
		_, err2 := decodeDay(k, v)
		_, err3 := decodeTotal(k, v)
		for _, err := range []error{err1, err2, err3} {
			if err != nil && !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Permanent) {
				t.Fatalf("got %v, want a Corrupt fault", err)
			}
		}
	})
}
