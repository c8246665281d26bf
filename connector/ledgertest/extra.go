package ledgertest

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

func (r *rig) ageOwner(owner string, by time.Duration) {
	r.Helper()
	if err := r.AgeOwner(owner, by); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) renew(l connector.Ledger, wantLost bool) {
	r.Helper()
	lost, err := l.Renew(r.Context())
	if err != nil || lost != wantLost {
		r.Errorf("renew: got %v %v, want lost %v", lost, err, wantLost)
	}
}

func takenOver(r *rig) {
	o, other := File("/data/a.fits", "a"), r.open("two")
	r.renew(r.l, false)
	r.holds(r.l, o, false)
	r.refused(other, o, false, "one", connector.RenewEvery)
	r.ageOwner("one", 55*time.Second)
	r.refused(other, o, false, "one", 5*time.Second)
	r.renew(r.l, false)
	r.ageOwner("one", 59*time.Second)
	r.refused(other, o, true, "one", time.Second)
	r.ageOwner("one", time.Second)
	// Another file with the same bytes takes the hash over, this one is not held then.
	like := File("/data/like a.fits", "a")
	r.holds(other, like, false)
	r.table(lockedRow(like))
	d := To(o, "here", "/raw/a.fits")
	if err := r.l.Record(r.Context(), o, d, true, false); !fault.Is(err, fault.Conflict) {
		r.Errorf("record what another path took over: got %v, want a conflict", err)
	}
	r.unlock(other, like)
	r.holds(other, o, false)
	r.table(lockedRow(o))
	if err := r.l.Record(r.Context(), o, d, true, false); !fault.Is(err, fault.Conflict) {
		r.Errorf("record what was taken over: got %v, want a conflict", err)
	}
	r.unlock(r.l, o) // has no effect
	r.renew(r.l, true)
	r.renew(r.l, false)
	r.refused(r.l, o, true, "two", connector.RenewEvery)
	r.record(other, o, d, true)
	r.refused(r.l, o, true, "two", connector.RenewEvery)
	r.unlock(other, o)
	if c := r.lock(r.l, o, true); c.Held || c.Done == nil {
		r.Errorf("got %+v, want it to be done", c)
	}
	r.table(doneRow(o, d))
}

func late(r *rig) {
	o := File("/data/a.fits", "a")
	r.holds(r.l, o, false)
	r.ageOwner("one", time.Hour)
	d := To(o, "here", "/raw/a.fits")
	r.record(r.l, o, d, true)
	r.holds(r.l, o, true) // which finds out that it was late
	r.renew(r.l, true)
	// What an owner claimed before it was late may be taken from it, though it lives again.
	b, other := File("/data/b.fits", "b"), r.open("two")
	r.holds(r.l, b, false)
	r.ageOwner("one", time.Hour)
	r.renew(r.l, true)
	r.holds(other, b, false)
	r.refused(r.l, b, true, "two", connector.RenewEvery)
	// What it locks again may not.
	r.holds(r.l, o, true)
	r.refused(other, o, false, "one", connector.RenewEvery)
}

func formerLife(r *rig) {
	o := File("/data/a.fits", "a")
	r.holds(r.l, o, false)
	again := r.open("one")
	r.holds(again, o, false)
	r.renew(again, false)
	r.ageOwner("one", time.Hour)
	third := r.open("one")
	r.renew(third, true)
	r.holds(third, o, true)
	d := To(o, "here", "/raw/a.fits")
	r.record(third, o, d, true)
	r.holds(third, o, true) // recorded, and not given back yet
	r.unlock(third, o)
	r.wantEntry(r.find(third, o.Source)[o.Source], o, d)
}

func sameBytes(r *rig) {
	a, b, c, other := File("/data/a", ""), File("/data/b", ""), File("/data/c", ""), r.open("two")
	b.Meta = map[string]string{"tel": "9"}
	r.holds(r.l, a, false)
	r.refused(r.l, b, false, "one", time.Second)
	r.refused(other, c, false, "one", connector.RenewEvery)
	da, db := To(a, "here", "/raw/a"), To(b, "here", "/raw/b")
	r.record(r.l, a, da, true)
	for _, claim := range []connector.Claim{r.holds(r.l, b, false), r.holds(other, c, false)} {
		if claim.Same == nil {
			r.Fatal("nothing with the same bytes")
		}
		r.wantEntry(*claim.Same, a, da)
	}
	r.refused(other, b, false, "one", connector.RenewEvery) // the very file
	r.record(r.l, b, db, true)
	r.unlock(other, c)
	r.unlock(r.l, a)
	r.unlock(r.l, b)
	r.table(doneRow(a, da))
	found := r.find(r.l, a.Source, b.Source, c.Source)
	r.wantEntry(found[a.Source], a, da)
	r.wantEntry(found[b.Source], b, db)
	if len(found) != 2 {
		r.Errorf("found %+v", found)
	}
	if claim := r.lock(r.l, b, false); claim.Done == nil || claim.Done.Source != b.Source {
		r.Errorf("got %+v, want b to be done", claim)
	}
}

func destinations(r *rig) {
	o, other := File("/data/a", "a"), r.open("two")
	first, second := To(o, "goto@gateway:/raw", "/raw/a"), To(o, "an archive", "/archive/a")
	second.At = first.At.Add(-time.Hour)
	r.holds(r.l, o, false)
	r.record(r.l, o, second, false)
	r.table(lockedRow(o))
	r.holds(r.l, o, true)
	like := File("/data/like a", "a")
	if c := r.holds(other, like, false); c.Same == nil || len(c.Same.Shipments) != 1 {
		r.Errorf("got %+v", c.Same)
	}
	r.unlock(other, like)
	r.table(lockedRow(o))
	if found := r.find(r.l, o.Source); len(found) > 0 {
		r.Errorf("what is under way is done: %+v", found)
	}
	// Its owner dies: it is at one of two, and not done.
	r.ageOwner("one", time.Hour)
	r.holds(other, o, false)
	r.record(other, o, second, false)
	r.record(other, o, first, true)
	r.unlock(other, o)
	r.table(doneRow(o, first))
	r.wantEntry(r.find(r.l, o.Source)[o.Source], o, first, second)
}

func packed(r *rig) {
	for i, size := range []int64{5, 0} {
		o := File(fmt.Sprint("/data/", i), fmt.Sprint("content ", i))
		o.Created = time.Unix(1, 1).UTC()
		d := To(o, "here", "/raw/a.fits.fz")
		d.Size, d.SHA256, d.Verified = size, sha256.Sum256([]byte("x")), connector.BySize
		r.done(r.l, o, d)
		r.wantEntry(r.find(r.l, o.Source)[o.Source], o, d)
	}
	// What nobody knows stays unknown.
	o := File("/data/unknown", "unknown")
	o.SHA256 = [32]byte{}
	d := To(o, "here", "/raw/x")
	d.Verified = connector.BySize
	r.done(r.l, o, d)
	r.wantEntry(r.find(r.l, o.Source)[o.Source], o, d)
}

// crowd: of many that claim one file at once, one has it.
func crowd(r *rig) {
	const many = 16
	ledgers := make([]connector.Ledger, many)
	for i := range ledgers {
		ledgers[i] = r.open(fmt.Sprint("owner ", i))
	}
	for round := range 2 {
		o := File(fmt.Sprint("/data/", round), fmt.Sprint("content ", round))
		r.oneOf(many, func(i int) (connector.Claim, error) { return ledgers[i].Lock(r.Context(), o, false) })
	}
}

// crowdOfBytes: of many files with the same bytes, one is held, by one of two.
func crowdOfBytes(r *rig) {
	const many = 16
	two := []connector.Ledger{r.l, r.open("two")}
	for round := range 2 {
		r.oneOf(many, func(i int) (connector.Claim, error) {
			return two[i%2].Lock(r.Context(), File(fmt.Sprintf("/data/%d/%d", round, i),
				fmt.Sprint("content ", round)), false)
		})
	}
}

func (r *rig) oneOf(many int, lock func(i int) (connector.Claim, error)) {
	r.Helper()
	var at sync.WaitGroup
	claims, errs := make([]connector.Claim, many), make([]error, many)
	for i := range many {
		at.Go(func() { claims[i], errs[i] = lock(i) })
	}
	at.Wait()
	held := 0
	for i, c := range claims {
		if errs[i] != nil || !c.Held && c.By == "" {
			r.Errorf("claim %d: got %+v %v", i, c, errs[i])
		}
		if c.Held {
			held++
		}
	}
	if held != 1 {
		r.Errorf("%d of %d hold it, want 1", held, many)
	}
}

// pair: two that see the same files transfer each once, and each content once.
func pair(r *rig) {
	const files, contents, workers = 16, 6, 2
	two := []connector.Ledger{r.l, r.open("two")}
	var mu sync.Mutex
	placed, sent := map[string]int{}, map[[20]byte]int{}
	todo := [2]chan connector.Original{make(chan connector.Original, files), make(chan connector.Original, files)}
	var work sync.WaitGroup
	for w := range 2 * workers {
		work.Go(func() {
			l := two[w%2]
			for o := range todo[w%2] {
				for {
					c, err := l.Lock(r.Context(), o, false)
					if err != nil {
						r.Error(err)
						return
					}
					if c.Done != nil {
						break
					}
					if !c.Held {
						continue
					}
					mu.Lock()
					if placed[o.Source]++; c.Same == nil {
						sent[o.SHA1]++
					}
					mu.Unlock()
					if err := l.Record(r.Context(), o, To(o, "here", "/raw"+o.Source), true, false); err != nil {
						r.Error(err)
					}
					if err := l.Unlock(r.Context(), o); err != nil {
						r.Error(err)
					}
					break
				}
			}
		})
	}
	for i := range files {
		for _, to := range todo {
			to <- File(fmt.Sprint("/data/", i), fmt.Sprint("content ", i%contents))
		}
	}
	close(todo[0])
	close(todo[1])
	work.Wait()
	wantPlaced, wantSent := map[string]int{}, map[[20]byte]int{}
	for i := range files {
		o := File(fmt.Sprint("/data/", i), fmt.Sprint("content ", i%contents))
		wantPlaced[o.Source], wantSent[o.SHA1] = 1, 1
	}
	if !reflect.DeepEqual(placed, wantPlaced) || !reflect.DeepEqual(sent, wantSent) {
		r.Errorf("placed %v, sent %v, want each once", placed, sent)
	}
	rows := r.rows("SELECT count(*), count(file_transferred_at) FROM %s", r.Table)
	beside := r.rows("SELECT (SELECT count(*) FROM %s_holdfast_files), (SELECT count(*) FROM %[1]s_holdfast_locks)", r.Table)
	if fmt.Sprint(rows, beside) != fmt.Sprintf("[[%d %d]] [[%d 0]]", contents, contents, files) {
		r.Errorf("tables have %v rows, transferred, and %v files, locks", rows, beside)
	}
}
