package frontier

import (
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// importer is one for the rig's frontier.
func (r *rig) importer() *Importer {
	r.Helper()
	i, err := r.f.Importer()
	if err != nil {
		r.Fatal(err)
	}
	return i
}

// imports imports URLs, each in its state.
func (r *rig) imports(i *Importer, items []Item, states ...State) (learned int) {
	r.Helper()
	for len(states) < len(items) { // or all in one
		states = append(states, states[0])
	}
	err := r.st.Update(func(tx *store.Tx) (err error) {
		learned, err = i.Import(tx, items, states)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return learned
}

// settles takes out of queues what was imported as ended.
func (r *rig) settles(i *Importer) (rounds int) {
	r.Helper()
	for more := true; more; rounds++ {
		err := r.st.Update(func(tx *store.Tx) (err error) {
			more, err = i.Settle(tx)
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
	}
	return rounds
}

func (r *rig) standing(k string) (s State) {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) (err error) {
		s, _, _, err = Find(rd, k)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// TestImport: what other crawls tell in whatever order gives one state, and all counters are those of a recount.
func TestImport(t *testing.T) {
	states := []State{Queued, Left, Failed, Done}
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		r := newRig(t, Options{})
		i := r.importer()
		want := map[string]int{} // what is worth most
		for range 12 {
			var items []Item
			var as []State
			for range 1 + rnd.IntN(40) {
				x, s := item(rnd.IntN(5), rnd.IntN(40)), states[rnd.IntN(4)]
				if most, known := want[x.Key]; !known || worth(s) > most {
					want[x.Key] = worth(s)
				}
				items, as = append(items, x), append(as, s)
			}
			r.imports(i, items, as...)
			switch rnd.IntN(4) {
			case 0:
				r.settles(i)
			case 1:
				i = r.importer()
			case 2:
				r.again()
				i = r.importer()
			}
		}
		r.settles(i)
		r.recount()
		for k, most := range want {
			if got := worth(r.standing(k)); got != most {
				t.Fatalf("seed %d: %s is %d, want %d", seed, k, got, most)
			}
		}
		if c := r.counts(); c.Known != uint64(len(want)) {
			t.Fatalf("%+v of %d", c, len(want))
		}
		for l := r.take(); l != nil; l = r.take() {
			if want[l.Key] != 0 {
				t.Fatalf("seed %d: %s is fetched, which another crawl ended", seed, l.URL)
			}
			delete(want, l.Key)
			r.f.Release(l, r.now)
		}
		for k, most := range want {
			if most == 0 {
				t.Fatalf("seed %d: %s is never fetched", seed, k)
			}
		}
		r.st.Close()
	}
}

// TestImportIntoACrawl: what this crawl ended stays as it is; what it has queued, read ahead or put off is taken out if another
// crawl ended it.
func TestImportIntoACrawl(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 0), item(1, 1), item(1, 2), item(1, 3))
	outcomes := []func(b *Batch, l *Lease) error{
		func(b *Batch, l *Lease) error { return b.Done(l, Outcome{Status: -2, Failed: true}) },
		func(b *Batch, l *Lease) error { return b.Retry(l, r.now.Add(time.Hour), r.now) },
	}
	for _, o := range outcomes {
		l := r.take()
		if l == nil {
			t.Fatal("nothing to take")
		}
		i := r.importer()
		err := r.st.Update(func(tx *store.Tx) error {
			_, err := i.Import(tx, nil, nil)
			return err
		})
		if !fault.Is(err, fault.Conflict) {
			t.Fatalf("import with a URL in flight: %v", err)
		}
		r.f.Release(l, r.now)
		r.batch(func(b *Batch) error { return o(b, l) })
	}
	i := r.importer()
	r.add(item(1, 4)) // by another
	var all []Item
	for n := range 6 {
		if n != 3 {
			all = append(all, item(1, n))
		}
	}
	if n := r.imports(i, all, Done); n != 4 {
		t.Errorf("learned of %d URLs, want 4: one put off, two queued, one new", n)
	}
	if n := r.settles(i); n != 2 {
		t.Errorf("settled in %d rounds", n)
	}
	r.recount()
	if c := r.counts(); c.Known != 6 || c.Queued != 1 || c.Waiting != 0 || c.Done != 4 || c.Failed != 1 || c.Hosts != 1 {
		t.Errorf("got %+v", c)
	}
	if l := r.take(); l == nil || l.Key != item(1, 3).Key {
		t.Errorf("took %+v", l)
	}
}

// TestSettleMuch: more queued URLs than a transaction walks through.
func TestSettleMuch(t *testing.T) {
	r := newRig(t, Options{})
	const n = mostPassed + 5000
	var all []Item
	for k := range n {
		all = append(all, item(k%100, k))
	}
	i := r.importer()
	r.imports(i, all, Queued)
	if got := r.imports(i, all[:n-1], Left); got != n-1 {
		t.Fatalf("marked %d", got)
	}
	if got := r.imports(i, all[:1], Left); got != 0 {
		t.Fatalf("marked %d again", got)
	}
	if rounds := r.settles(i); rounds != 3 {
		t.Errorf("settled in %d rounds, want 3", rounds)
	}
	if c := r.counts(); c.Queued != 1 || c.Left != n-1 {
		t.Errorf("%+v", c)
	}
	r.recount()
}
