package frontier

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/store"
)

// rig is a frontier in a store, and what it should have.
type rig struct {
	*testing.T
	dir  string
	opts Options
	st   *store.Store
	f    *Frontier
	now  time.Time
}

func newRig(t *testing.T, o Options) *rig {
	r := &rig{T: t, dir: t.TempDir(), opts: o, now: time.Now()}
	r.open()
	t.Cleanup(func() { r.st.Close() })
	return r
}

func (r *rig) open() {
	r.Helper()
	var err error
	if r.st, err = store.Open(r.dir, store.Options{}); err != nil {
		r.Fatal(err)
	}
	if r.f, err = Open(r.st, r.opts); err != nil {
		r.Fatal(err)
	}
}

// again opens the store anew; what was in flight is not any more.
func (r *rig) again() {
	r.Helper()
	if err := r.st.Close(); err != nil {
		r.Fatal(err)
	}
	r.open()
}

// batch writes what f puts into a batch.
func (r *rig) batch(with func(b *Batch) error) {
	r.Helper()
	err := r.st.Update(func(tx *store.Tx) error {
		b, err := r.f.Begin(tx)
		if err != nil {
			return err
		}
		if err := with(b); err != nil {
			return err
		}
		return b.Write()
	})
	if err != nil {
		r.Fatal(err)
	}
}

// item is the URL of a number on a host of a number.
func item(host, n int) Item {
	queue := fmt.Sprintf("com,example,h%d,", host)
	return Item{URL: fmt.Sprintf("http://h%d.example.com/%d", host, n), Key: fmt.Sprintf("http://(%s)/%d", queue, n), Queue: queue,
		Hops: "L", Via: "http://example.com/", Source: "seed"}
}

func (r *rig) add(items ...Item) (added int) {
	r.Helper()
	r.batch(func(b *Batch) (err error) {
		added, err = b.Add(items...)
		return err
	})
	return added
}

// take is the next URL, nil if there is none yet.
func (r *rig) take() *Lease {
	r.Helper()
	if err := r.f.chores(r.now); err != nil {
		r.Fatal(err)
	}
	l, _, _, err := r.f.take(r.now)
	if err != nil {
		r.Fatal(err)
	}
	return l
}

func (r *rig) counts() (c Counts) {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) (err error) {
		c, err = ReadCounts(rd)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// TestPolite: a host is asked for one URL at a time, and not before it may be; the next one may go out while what became of the
// last is not written yet. Another host does not wait for it.
func TestPolite(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1), item(1, 2), item(1, 3), item(2, 1))
	first, other := r.take(), r.take()
	if first == nil || other == nil || first.Queue == other.Queue {
		t.Fatalf("got %+v and %+v", first, other)
	}
	if l := r.take(); l != nil {
		t.Fatalf("%s while its host is asked", l.URL)
	}
	if other.Queue == item(1, 1).Queue {
		first, other = other, first
	}
	r.f.Release(first, r.now.Add(3*time.Second))
	if l := r.take(); l != nil {
		t.Fatalf("%s before its time", l.URL)
	}
	r.now = r.now.Add(3 * time.Second)
	second := r.take()
	if second == nil || second.URL != item(1, 2).URL {
		t.Fatalf("got %+v, want the second", second)
	}
	r.batch(func(b *Batch) error { return b.Done(first, Outcome{Status: 200, Due: r.now}) })
	r.f.Release(second, r.now.Add(time.Hour))
	r.batch(func(b *Batch) error {
		return b.Done(second, Outcome{Status: 404, Failed: true, Due: r.now.Add(time.Hour)})
	})
	r.recount()
	r.again() // the time survives
	if l := r.take(); l == nil || l.URL != other.URL {
		t.Fatalf("got %+v, want what was in flight", l)
	}
	if l := r.take(); l != nil {
		t.Fatalf("%s before its time", l.URL)
	}
	r.now = r.now.Add(time.Hour)
	if l := r.take(); l == nil || l.URL != item(1, 3).URL {
		t.Fatalf("got %+v, want the third", l)
	}
}

// TestPrecedence: what has the lower one comes first, though it came later; of one precedence the first comes first.
func TestPrecedence(t *testing.T) {
	r := newRig(t, Options{})
	for n, p := range []uint8{5, 5, 1, 9, 1} {
		i := item(1, n)
		i.Precedence = p
		r.add(i)
		if n == 1 { // some are read ahead
			l := r.take()
			r.f.Return(l)
		}
	}
	var got []string
	for l := r.take(); l != nil; l = r.take() {
		got = append(got, strings.TrimPrefix(l.URL, "http://h1.example.com/"))
		r.f.Release(l, r.now)
	}
	if want := []string{"2", "4", "0", "1", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestReleasedLate: a host may be released when its URL is done already, also if it had no other one by then.
func TestReleasedLate(t *testing.T) {
	r := newRig(t, Options{PerHost: 2})
	r.add(item(1, 1))
	l := r.take()
	r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: r.now}) })
	if other := r.take(); other != nil {
		t.Fatalf("%s is taken", other.URL)
	}
	r.f.Release(l, r.now)
	r.add(item(1, 2))
	if l := r.take(); l == nil {
		t.Error("nothing is taken")
	}
	r.recount()
}
