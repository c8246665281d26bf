package frontier

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
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

// recount compares every counter and index with what it stands for.
func (r *rig) recount() {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) error {
		var want Counts
		statuses := map[int]uint64{}
		entries, failed := rd.Scan(key('k'), key('k').End())
		for _, v := range entries {
			s, status, err := readKnown(v)
			if err != nil {
				return err
			}
			want.Known++
			switch s {
			case Queued:
				want.Queued++
			case Waiting:
				want.Waiting++
			case Done:
				want.Done++
			case Failed:
				want.Failed++
			case Left:
				want.Left++
			}
			if s == Done || s == Failed || s == Left {
				statuses[status]++
			}
		}
		if err := failed(); err != nil {
			return err
		}
		queued, ready := map[uint32]uint64{}, map[uint32]int64{}
		head, open := map[uint32]place{}, map[uint32]uint64{}
		entries, failed = rd.Scan(key('q'), key('q').End())
		for k, v := range entries {
			id := binary.BigEndian.Uint32(k[3:])
			if queued[id]++; queued[id] == 1 {
				head[id] = placeOf(k)
			}
			rec, err := readHost(rd, id)
			if err != nil {
				return err
			}
			e, err := readEntry(k, v, rec.name)
			if err != nil {
				return err
			}
			if s, _, known, err := Find(rd, e.item.Key); s != Queued || !known || err != nil {
				r.Errorf("%s is in a queue, and known %v as %c (%v)", e.item.Key, known, s, err)
			}
			open[e.source]++
		}
		entries, failed2 := rd.Scan(key('r'), key('r').End())
		for k := range entries {
			due, id, err := readReady(k)
			if err != nil {
				return err
			}
			if _, twice := ready[id]; twice {
				r.Errorf("host %d is ready twice", id)
			}
			ready[id] = due
		}
		var sum Counts
		entries, failed3 := rd.Scan(key('h'), key('h').End())
		for k := range entries {
			id := binary.BigEndian.Uint32(k[3:])
			rec, err := readHost(rd, id)
			if err != nil {
				return err
			}
			want.Hosts++
			sum.Done, sum.Failed, sum.Left = sum.Done+rec.done, sum.Failed+rec.failed, sum.Left+rec.left
			sum.Waiting += rec.waiting
			due, is := ready[id]
			if rec.queued != queued[id] || is != rec.listed() || is && due != rec.due || is && head[id].before(rec.head) {
				r.Errorf("host %d has record %+v; it has %d URLs from %v, ready %v %d", id, rec, queued[id], head[id], is, due)
			}
		}
		got, err := ReadCounts(rd)
		if err != nil {
			return err
		}
		want.Bytes = got.Bytes
		if got != want || sum.Done != want.Done || sum.Failed != want.Failed || sum.Left != want.Left || sum.Waiting != want.Waiting {
			r.Errorf("counters %+v, hosts %+v; a recount gives %+v", got, sum, want)
		}
		if got, err := Statuses(rd); err != nil || !maps.Equal(got, statuses) {
			r.Errorf("statuses %v, want %v (%v)", got, statuses, err)
		}
		for _, f := range []func() error{failed, failed2, failed3} {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
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

// TestWalk: whatever is added, taken, given back, done, put off, and whenever it stops: every URL is taken until it is done, none
// after that, and all counters are right. A small window has the store order the hosts.
func TestWalk(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { walk(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func walk(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, Options{Window: 1 + rnd.IntN(4), PerHost: 1 + rnd.IntN(2)})
	const hosts, urls = 12, 20
	known, ended := map[string]bool{}, map[string]bool{}
	var fetching, fetched []*Lease
	due, written := map[string]time.Time{}, map[string]time.Time{} // a crash forgets what was not written
	random := func() (all []Item) {
		for range rnd.IntN(8) {
			i := item(rnd.IntN(hosts), rnd.IntN(urls))
			i.Precedence = uint8(rnd.IntN(3))
			all = append(all, i)
		}
		return all
	}
	end := func(l *Lease) {
		written[l.Queue] = due[l.Queue]
		r.batch(func(b *Batch) error {
			items, fresh := random(), 0
			for _, i := range items {
				if !known[i.Key] {
					fresh++
				}
				known[i.Key] = true
			}
			if n, err := b.Add(items...); n != fresh || err != nil {
				t.Errorf("%d of %d were new, want %d (%v)", n, len(items), fresh, err)
			}
			if l.Attempts < 3 && rnd.IntN(4) == 0 {
				return b.Retry(l, r.now.Add(time.Duration(rnd.IntN(90))*time.Second), due[l.Queue])
			}
			ended[l.Key] = true
			n := rnd.IntN(3)
			return b.Done(l, Outcome{Status: []int{200, 404, -9998}[n], Failed: n == 1, Left: n == 2, Type: "text/html", Bytes: 7,
				Due: due[l.Queue]})
		})
	}
	step := func() {
		switch rnd.IntN(12) {
		case 0:
			for _, i := range random() {
				r.add(i)
				known[i.Key] = true
			}
		case 1:
			if rnd.IntN(10) == 0 {
				fetching, fetched, due = nil, nil, maps.Clone(written)
				r.again()
			}
		case 2:
			if len(fetching) > 0 && rnd.IntN(4) == 0 {
				r.f.Return(fetching[0])
				fetching = fetching[1:]
			}
		case 3, 4, 5, 6:
			if l := r.take(); l != nil {
				if ended[l.Key] || !known[l.Key] {
					t.Errorf("%s is taken: known %v, ended %v", l.Key, known[l.Key], ended[l.Key])
				}
				for _, other := range append(slices.Clone(fetching), fetched...) {
					if other.Key == l.Key {
						t.Errorf("%s is taken twice", l.Key)
					}
				}
				if r.opts.PerHost == 1 && r.now.Before(due[l.Queue].Truncate(time.Millisecond)) {
					t.Errorf("%s is taken %v too early", l.Key, due[l.Queue].Sub(r.now))
				}
				fetching = append(fetching, l)
			}
		case 7, 8, 9:
			if len(fetching) > 0 {
				i := rnd.IntN(len(fetching))
				l := fetching[i]
				fetching = slices.Delete(fetching, i, i+1)
				if at := r.now.Add(time.Duration(rnd.IntN(5000)) * time.Millisecond); at.After(due[l.Queue]) {
					due[l.Queue] = at
				}
				r.f.Release(l, due[l.Queue])
				fetched = append(fetched, l)
			}
		case 10:
			if len(fetched) > 0 {
				end(fetched[0])
				fetched = fetched[1:]
			}
		case 11:
			r.now = r.now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		}
	}
	for range 600 {
		step()
	}
	r.recount()
	fetching, fetched = nil, nil
	r.again()
	for len(ended) < len(known) {
		l := r.take()
		if l == nil {
			r.now = r.now.Add(time.Second)
			if r.now.After(time.Now().Add(48 * time.Hour)) {
				t.Fatalf("%d of %d URLs are never taken: %+v", len(known)-len(ended), len(known), r.counts())
			}
			continue
		}
		r.f.Release(l, r.now)
		end(l)
		if t.Failed() {
			return
		}
	}
	r.recount()
	if c := r.counts(); c.Queued+c.Waiting != 0 || c.Known != uint64(len(known)) || r.f.Flying() != 0 {
		t.Errorf("%+v, and %d in flight, of %d", c, r.f.Flying(), len(known))
	}
}
