package identity

import (
	"errors"
	"flag"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// TestMain sets how many histories the property tests run, unless -rapid.checks says it.
func TestMain(m *testing.M) {
	checks := "100"
	switch {
	case testenv.Torture():
		checks = "3000"
	case raceEnabled:
		checks = "10"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

var errNo = errors.New("no")

func openSet(t testing.TB, st *store.Store, name string) *Set {
	t.Helper()
	s, err := Open(st, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t testing.TB, st *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Update(f); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, st *store.Store, f func(r store.Reader) error) {
	t.Helper()
	if err := st.View(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func add(t testing.TB, st *store.Store, s *Set, keys ...uint64) (added int) {
	t.Helper()
	update(t, st, func(tx *store.Tx) (err error) {
		added, err = s.Add(tx, keys)
		return err
	})
	return added
}

// collect drains one of the sequences.
func collect[T any](seq func(func(T) bool), fail func() error) ([]T, error) {
	var all []T
	for v := range seq {
		all = append(all, v)
	}
	return all, fail()
}

func TestNewIsFalseForKnownAndForRepeats(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := openSet(t, st, "spots")
	if got := add(t, st, s, 5, 70000, 5, math.MaxUint64); got != 3 {
		t.Errorf("added %d, want 3", got)
	}
	view(t, st, func(r store.Reader) error {
		got, err := s.New(r, []uint64{5, 6, 6, 70000, 70001, math.MaxUint64, 0})
		want := []bool{false, true, false, false, true, false, true}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		return err
	})
	view(t, st, func(r store.Reader) error {
		if n, err := s.Total(r); n != 3 || err != nil {
			t.Errorf("asking changed the total: got %d, %v", n, err)
		}
		return nil
	})
}

func TestAFailedTransactionLeavesNoTrace(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := openSet(t, st, "spots")
	add(t, st, s, 1)
	err := st.Update(func(tx *store.Tx) error {
		if _, err := s.Add(tx, []uint64{2, 3}); err != nil {
			return err
		}
		if ok, err := s.Has(tx, 2); !ok || err != nil {
			t.Errorf("a transaction does not see its own ids: %v", err)
		}
		return errNo
	})
	if err != errNo {
		t.Fatal(err)
	}
	view(t, st, func(r store.Reader) error {
		two, err := s.Has(r, 2)
		n, _ := s.Total(r)
		if two || n != 1 {
			t.Errorf("the failed transaction left %d ids", n)
		}
		return err
	})
}

func TestSetsDoNotMix(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	known, absent := openSet(t, st, "spots"), openSet(t, st, "spots absent")
	add(t, st, known, 1)
	add(t, st, absent, 2, 3)
	view(t, st, func(r store.Reader) error {
		a, _ := known.Has(r, 2)
		b, _ := absent.Has(r, 1)
		n, err := absent.Total(r)
		if a || b || n != 2 || err != nil {
			t.Errorf("got %v %v %d %v", a, b, n, err)
		}
		return nil
	})
}

// Ranges that no loop over ids could walk.
func TestMissingOverHugeRanges(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := openSet(t, st, "spots")
	add(t, st, s, 7, math.MaxUint64-1)
	update(t, st, func(tx *store.Tx) error {
		n, err := s.AddRange(tx, KeyRange{1 << 40, 1<<40 + 1<<28 - 1})
		if n != 1<<28 {
			t.Errorf("added %d, want 2^28", n)
		}
		return err
	})
	view(t, st, func(r store.Reader) error {
		got, err := collect(s.Missing(r, 0, math.MaxUint64))
		want := []KeyRange{{0, 6}, {8, 1<<40 - 1}, {1<<40 + 1<<28, math.MaxUint64 - 2},
			{math.MaxUint64, math.MaxUint64}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
		if n, err := s.Count(r, 1<<40+5, 1<<40+1<<28+5); n != 1<<28-5 || err != nil {
			t.Errorf("count: got %d %v", n, err)
		}
		if got, err := collect(s.Missing(r, 9, 8)); len(got) != 0 || err != nil {
			t.Errorf("bounds the wrong way round: got %v %v", got, err)
		}
		return nil
	})
	err := st.Update(func(tx *store.Tx) error {
		_, err := s.AddRange(tx, KeyRange{0, 1 << 32})
		return err
	})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a range of more than 2^32 ids: got %v", err)
	}
}

func TestDamageNamesTheIds(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := openSet(t, st, "spots")
	add(t, st, s, 1, 2, 65536, 65540, 131072)
	key := s.chunkKey(1)
	update(t, st, func(tx *store.Tx) error {
		v, _, err := tx.Get(key)
		v[len(v)-6] ^= 1
		tx.Set(key, v)
		return err
	})
	check := func(what string, err error) {
		t.Helper()
		if want := `ids 65536 to 131071`; !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a Corrupt fault that names %s", what, err, want)
		}
	}
	view(t, st, func(r store.Reader) error {
		_, err := s.Has(r, 65536)
		check("Has", err)
		_, err = s.New(r, []uint64{1, 65537})
		check("New", err)
		_, err = s.Count(r, 0, 1<<20)
		check("Count", err)
		_, err = collect(s.Missing(r, 0, 1<<20))
		check("Missing", err)
		if ok, err := s.Has(r, 2); !ok || err != nil {
			t.Errorf("the neighbour suffers: %v", err)
		}
		chunks, err := collect(s.Chunks(r))
		if len(chunks) != 3 || err != nil {
			t.Fatalf("got %d chunks, %v", len(chunks), err)
		}
		check("Chunks", chunks[1].Err)
		return nil
	})
	// A salvage drops what can't be read; the total is then counted again.
	update(t, st, func(tx *store.Tx) error {
		was, err := s.Total(tx)
		if err == nil {
			err = DropUnreadable(tx)
		}
		is, failed := s.Total(tx)
		if was != 5 || is != 3 {
			t.Errorf("total: was %d, is %d", was, is)
		}
		return errors.Join(err, failed)
	})
}

func TestDropUnreadable(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	some, all, total := openSet(t, st, "some"), openSet(t, st, "all"), openSet(t, st, "total")
	add(t, st, some, 1, 2, 70000)
	add(t, st, all, 5, 6)
	add(t, st, total, 7, 8, 9)
	openHashed(t, st, day)
	damage := func(tx *store.Tx, keys ...store.Key) error {
		for _, k := range keys {
			v, _, err := tx.Get(k)
			if err != nil {
				return err
			}
			v[len(v)/2] ^= 8
			tx.Set(k, v)
		}
		return nil
	}
	update(t, st, func(tx *store.Tx) error {
		if err := damage(tx, some.chunkKey(0), all.chunkKey(0), total.totalKey()); err != nil {
			return err
		}
		return DropUnreadable(tx)
	})
	view(t, st, func(r store.Reader) error {
		for s, want := range map[*Set]uint64{some: 1, all: 0, total: 3} {
			got, err := s.Total(r)
			counted, err2 := s.Count(r, 0, math.MaxUint64)
			if got != want || counted != want || err != nil || err2 != nil {
				t.Errorf("set %s: total %d, counted %d, want %d (%v %v)", s.name, got, counted, want, err, err2)
			}
		}
		return nil
	})
}

// The total is a fact of its own that a salvage may lose: adding must not start from zero then.
func TestALostTotalIsCounted(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := openSet(t, st, "spots")
	add(t, st, s, 1, 2, 3, 1<<30)
	update(t, st, func(tx *store.Tx) error { tx.Delete(s.totalKey()); return nil })
	add(t, st, s, 4)
	view(t, st, func(r store.Reader) error {
		if n, err := s.Total(r); n != 5 || err != nil {
			t.Errorf("got %d %v, want 5", n, err)
		}
		return nil
	})
}

// model is what a set should hold.
type model map[uint64]bool

func (m model) sorted() []uint64 { return slices.Sorted(maps.Keys(m)) }

// ranges is the naive answer of Ranges.
func (m model) ranges(from, to uint64) (all []KeyRange) {
	for _, k := range m.sorted() {
		if k < from || k > to {
			continue
		}
		if n := len(all); n > 0 && all[n-1].To+1 == k {
			all[n-1].To = k
		} else {
			all = append(all, KeyRange{k, k})
		}
	}
	return all
}

// missing is the complement of ranges.
func (m model) missing(from, to uint64) (all []KeyRange) {
	next, more := from, from <= to
	for _, p := range m.ranges(from, to) {
		if p.From > next {
			all = append(all, KeyRange{next, p.From - 1})
		}
		next, more = p.To+1, p.To < to
	}
	if more {
		all = append(all, KeyRange{next, to})
	}
	return all
}

// drawID draws ids near each other and near the bounds of chunks, and a few at the far end.
func drawID(t *rapid.T, label string) uint64 {
	base := rapid.SampledFrom([]uint64{0, 65536 - 20, 1 << 33, math.MaxUint64 - 200}).Draw(t, label+" base")
	return base + rapid.Uint64Range(0, 200).Draw(t, label)
}

// machine runs a set against its model through commits, failures and power cuts.
type machine struct {
	tb      testing.TB
	fs      *storetest.CrashFS
	st      *store.Store
	s       *Set
	now     model   // what the latest state holds
	durable model   // what it held at the last durable commit
	states  []model // durable and each lazy state after it: a cut leaves one of these
}

func newMachine(tb testing.TB) *machine {
	m := &machine{tb: tb, fs: storetest.NewCrashFS(), now: model{}, durable: model{}}
	m.open()
	m.states = []model{{}}
	return m
}

func (m *machine) open() {
	var err error
	if m.st, err = store.Open("/job", storetest.Options(m.tb, m.fs.FS())); err != nil {
		m.tb.Fatal(err)
	}
	m.s = openSet(m.tb, m.st, "spots")
}

func (m *machine) commit(t *rapid.T, f func(tx *store.Tx, next model) error) {
	next := maps.Clone(m.now)
	how := rapid.SampledFrom([]string{"durable", "lazy", "failed"}).Draw(t, "commit")
	do := m.st.Update
	if how == "lazy" {
		do = m.st.UpdateLazy
	}
	err := do(func(tx *store.Tx) error {
		if err := f(tx, next); err != nil {
			return err
		}
		m.check(t, tx, next)
		if how == "failed" {
			return errNo
		}
		return nil
	})
	if how == "failed" && err == errNo {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if maps.Equal(m.now, next) {
		return // nothing was written, so nothing before it became durable
	}
	m.now = next
	if how == "durable" {
		m.durable, m.states = next, nil
	}
	m.states = append(m.states, next)
}

func (m *machine) add(t *rapid.T) {
	n := rapid.IntRange(1, 60).Draw(t, "n")
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = drawID(t, "id")
	}
	m.commit(t, func(tx *store.Tx, next model) error {
		isNew, err := m.s.New(tx, keys)
		if err != nil {
			return err
		}
		want := 0
		for i, k := range keys {
			if isNew[i] == next[k] {
				t.Fatalf("key %d: new %v, known %v", k, isNew[i], next[k])
			}
			if !next[k] {
				want++
			}
			next[k] = true
		}
		got, err := m.s.Add(tx, keys)
		if got != want {
			t.Fatalf("added %d, want %d", got, want)
		}
		return err
	})
}

func (m *machine) remove(t *rapid.T) {
	keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 { return drawID(t, "id") }), 1, 30).Draw(t, "ids")
	m.commit(t, func(tx *store.Tx, next model) error {
		want := 0
		for _, k := range keys {
			if next[k] {
				want++
			}
			delete(next, k)
		}
		got, err := m.s.Remove(tx, keys)
		if got != want {
			t.Fatalf("removed %d, want %d", got, want)
		}
		return err
	})
}

func (m *machine) editRange(t *rapid.T) {
	from := drawID(t, "from")
	to := from + min(rapid.Uint64Range(0, 90).Draw(t, "more"), math.MaxUint64-from)
	in := rapid.Bool().Draw(t, "add")
	m.commit(t, func(tx *store.Tx, next model) error {
		want := uint64(0)
		for k := from; ; k++ {
			if next[k] != in {
				want++
			}
			if next[k] = in; !in {
				delete(next, k)
			}
			if k == to {
				break
			}
		}
		edit := m.s.RemoveRange
		if in {
			edit = m.s.AddRange
		}
		got, err := edit(tx, KeyRange{from, to})
		if got != want {
			t.Fatalf("range %d to %d, add %v: changed %d, want %d", from, to, in, got, want)
		}
		return err
	})
}

// cut cuts the power and holds what is left against the states that may be left.
func (m *machine) cut(t *rapid.T) {
	fs := m.fs.After(rapid.IntRange(0, 100).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
	if err := m.st.Close(); err != nil {
		t.Fatal(err)
	}
	m.fs = fs
	m.open()
	found := model{}
	err := m.st.Latest(func(r store.Reader) error {
		all, err := collect(m.s.Ranges(r, 0, math.MaxUint64))
		for _, in := range all {
			for k := in.From; ; k++ {
				found[k] = true
				if k == in.To {
					break
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.states, func(s model) bool { return maps.Equal(s, found) }) {
		t.Fatalf("after the cut the set holds %v, which it never did since the last durable commit (%v)",
			found.sorted(), m.durable.sorted())
	}
	m.now, m.durable, m.states = found, found, []model{found}
}

// check compares every answer with the model's.
func (m *machine) check(t *rapid.T, r store.Reader, want model) {
	from, to := drawID(t, "from"), drawID(t, "to")
	if rapid.Bool().Draw(t, "all") {
		from, to = 0, math.MaxUint64
	}
	got, err := collect(m.s.Ranges(r, from, to))
	if err != nil || !slices.Equal(got, want.ranges(from, to)) {
		t.Fatalf("ranges %d to %d: got %v %v, want %v", from, to, got, err, want.ranges(from, to))
	}
	got, err = collect(m.s.Missing(r, from, to))
	if err != nil || !slices.Equal(got, want.missing(from, to)) {
		t.Fatalf("missing %d to %d: got %v %v, want %v", from, to, got, err, want.missing(from, to))
	}
	inside := uint64(0)
	for _, in := range want.ranges(from, to) {
		inside += in.To - in.From + 1
	}
	if n, err := m.s.Count(r, from, to); err != nil || n != inside {
		t.Fatalf("count %d to %d: got %d %v, want %d", from, to, n, err, inside)
	}
	if n, err := m.s.Total(r); err != nil || n != uint64(len(want)) {
		t.Fatalf("total: got %d %v, want %d", n, err, len(want))
	}
	keys := want.sorted()
	for _, end := range []struct {
		what string
		get  func(store.Reader) (uint64, bool, error)
		at   int
	}{{"lowest", m.s.Lowest, 0}, {"highest", m.s.Highest, len(keys) - 1}} {
		k, ok, err := end.get(r)
		if err != nil || ok != (len(keys) > 0) || ok && k != keys[end.at] {
			t.Fatalf("%s: got %d %v %v", end.what, k, ok, err)
		}
	}
}

func TestSetAgainstModelWithPowerCuts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t)
		defer func() { m.st.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"add":    m.add,
			"remove": m.remove,
			"range":  m.editRange,
			"cut":    m.cut,
			"": func(t *rapid.T) {
				if err := m.st.Latest(func(r store.Reader) error { m.check(t, r, m.now); return nil }); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// Whatever the bytes, reading a chunk is an error or a chunk that can be used and written again,
// and that a look-up in the packed bytes agrees with.
func FuzzDecodeChunk(f *testing.F) {
	key := store.Identities.K().U32(1).U48(3)
	for _, step := range []uint32{1, 2, 3, 700, 65536} {
		c := new(chunk)
		for id := uint32(0); id < chunkIds; id += step {
			c.add(id)
		}
		v := c.encode(key)
		f.Add(v[:len(v)-sumBytes], true)
		f.Add(v, false)
	}
	f.Fuzz(func(t *testing.T, v []byte, sealed bool) {
		if sealed { // get past the sum
			v = seal(key, slices.Clone(v))
		}
		c := new(chunk)
		ids, err := c.decode(key, v)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Permanent) {
				t.Fatalf("got %v, want a Corrupt fault", err)
			}
			return
		}
		w, again := c.encode(key), new(chunk)
		if n, err := again.decode(key, w); n != ids || err != nil || *again != *c {
			t.Fatalf("written again it has %d ids, %v; had %d", n, err, ids)
		}
		for _, b := range [][]byte{v, w} {
			s, err := openChunk(key, b)
			if err != nil {
				t.Fatal(err)
			}
			for id := range uint32(chunkIds) {
				if want := c[id>>6]>>(id&63)&1 == 1; s.has(id) != want {
					t.Fatalf("kind %d: has %d: got %v, want %v", s.kind, id, !want, want)
				}
			}
		}
	})
}
