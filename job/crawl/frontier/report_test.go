package frontier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// see runs f over the latest state.
func (r *rig) see(f func(rd store.Reader) error) {
	r.Helper()
	if err := r.st.Latest(f); err != nil {
		r.Fatal(err)
	}
}

// TestHosts: pages of hosts are whole and in order; the largest ones are those that sorting all of them finds.
func TestHosts(t *testing.T) {
	r := newRig(t, Options{})
	rnd := rand.New(rand.NewPCG(1, 1))
	want := map[string]uint64{}
	for h := range 60 {
		n := 1 + rnd.IntN(1+rnd.IntN(90))
		for u := range n {
			r.add(item(h, u))
		}
		want[item(h, 0).Queue] = uint64(n)
	}
	for range 150 {
		l := r.take()
		r.f.Release(l, r.now)
		r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Bytes: 5, Due: r.now}) })
		want[l.Queue]--
	}
	r.recount()
	var all []Host
	r.see(func(rd store.Reader) error {
		for page := []Host{{}}; len(page) > 0; {
			var err error
			if page, err = Hosts(rd, page[len(page)-1].Name, 7); err != nil {
				return err
			}
			all = append(all, page...)
		}
		return nil
	})
	if len(all) != 60 || !slices.IsSortedFunc(all, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) }) {
		t.Fatalf("got %d hosts, %v", len(all), all)
	}
	for _, h := range all {
		if h.Queued != want[h.Name] || h.Bytes != 5*h.Done {
			t.Errorf("%+v, want %d queued", h, want[h.Name])
		}
	}
	slices.SortFunc(all, func(a, b Host) int { return cmp.Or(cmp.Compare(b.Queued, a.Queued), cmp.Compare(a.Name, b.Name)) })
	all = slices.DeleteFunc(all, func(h Host) bool { return h.Queued == 0 })
	for _, n := range []int{1, 5, 30, 100} {
		r.see(func(rd store.Reader) error {
			got, err := Largest(rd, n)
			if !slices.Equal(got, all[:min(n, len(all))]) {
				t.Errorf("the largest %d are %+v, want %+v", n, got, all[:min(n, len(all))])
			}
			return err
		})
	}
	r.see(func(rd store.Reader) error {
		if n, err := Deepest(rd); err != nil || n != all[0].Queued {
			t.Errorf("the longest queue has %d URLs, want %d (%v)", n, all[0].Queued, err)
		}
		h, known, err := FindHost(rd, all[0].Name)
		if !known || h != all[0] {
			t.Errorf("got %+v (%v)", h, known)
		}
		_, known, _ = FindHost(rd, "org,example,")
		if known {
			t.Error("a host is known that there is not")
		}
		return err
	})
	if err := r.f.Hold("org,example,", true); !fault.Is(err, fault.NotFound) {
		t.Errorf("held: %v", err)
	}
}

// TestRank: of two sizes the larger one has no higher rank, and one changes seldom.
func TestRank(t *testing.T) {
	changes, was := 0, rankOf(0)
	for n := uint64(1); n < 1<<20; n++ {
		if is := rankOf(n); is > was {
			t.Fatalf("%d has rank %d behind %d", n, is, was)
		} else if is != was {
			changes, was = changes+1, is
		}
	}
	if changes > 100 {
		t.Errorf("%d ranks for a million", changes)
	}
	if rankOf(1<<64-1) == 0 && rankOf(1<<63) == 0 {
		t.Error("the ranks end too early")
	}
}

// TestURLs: all URLs of a host are in its pages, each once, with its state.
func TestURLs(t *testing.T) {
	r := newRig(t, Options{PerHost: 2})
	for n := range 50 {
		i := item(1, n)
		i.Precedence = uint8(n % 3)
		r.add(i, item(2, n))
	}
	states := map[string]State{}
	for n := range 12 {
		l := r.take()
		r.f.Release(l, r.now)
		if n%2 == 0 {
			r.batch(func(b *Batch) error { return b.Retry(l, r.now.Add(time.Hour), r.now) })
			states[l.URL] = Waiting
		} else {
			states[l.URL] = 'i'
		}
	}
	got := map[string]State{}
	for next, first := "", true; first || next != ""; first = false {
		var page []QueuedURL
		var err error
		if page, next, err = r.f.URLs(item(1, 0).Queue, next, 7); err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			if got[u.URL] != 0 || u.Source != "seed" || u.Key == "" || u.Via == "" || u.State == Waiting && (u.Due.IsZero() || u.Attempts != 1) {
				t.Errorf("%+v, and before %c", u, got[u.URL])
			}
			if got[u.URL] = u.State; u.InFlight {
				got[u.URL] = 'i'
			}
		}
	}
	for n := range 50 {
		u := item(1, n).URL
		if want := cmp.Or(states[u], Queued); got[u] != want {
			t.Errorf("%s is %c, want %c", u, got[u], want)
		}
	}
	if len(got) != 50 {
		t.Errorf("%d URLs", len(got))
	}
	for _, bad := range []string{"x", "ff", "7a46"} {
		if _, _, err := r.f.URLs(item(1, 0).Queue, bad, 7); bad != "7a46" && !fault.Is(err, fault.Invalid) {
			t.Errorf("from %q: %v", bad, err)
		}
	}
	if _, _, err := r.f.URLs("org,example,", "", 7); !fault.Is(err, fault.NotFound) {
		t.Errorf("of no host: %v", err)
	}
}

// TestExhausted: hosts that are over their budget end a crawl; more of it has them go on, also after a crash in the middle.
func TestExhausted(t *testing.T) {
	r := newRig(t, Options{})
	const hosts = 3 * hostsOfReview / 2
	var items []Item
	for h := range hosts {
		items = append(items, item(h, 0), item(h, 1))
	}
	r.add(items...)
	if err := r.f.SetBudget(t.Context(), Budget{Host: Limits{URLs: 1}}); err != nil {
		t.Fatal(err)
	}
	done := func(want int) {
		t.Helper()
		for range want {
			l := r.take()
			if l == nil {
				t.Fatal("nothing is taken")
			}
			r.f.Release(l, r.now)
			r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Bytes: 10, Due: r.now}) })
		}
		if l := r.take(); l != nil {
			t.Fatalf("%s is taken over the budget", l.URL)
		}
	}
	done(hosts)
	if err := r.f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Exhausted != hosts || c.ExhaustedHosts != hosts || c.Queued != hosts || c.Open() != 0 {
		t.Errorf("%+v", c)
	}
	r.recount()
	ended, end := context.WithCancel(t.Context())
	end()
	if err := r.f.SetBudget(ended, Budget{Host: Limits{Bytes: 15}}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.again() // Take sees to the hosts
	late, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if err := r.f.Wait(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end before every host was looked at: %v", err)
	}
	done(hosts)
	if c := r.counts(); c.Done != 2*hosts || c.Exhausted != 0 {
		t.Errorf("%+v", c)
	}
	r.recount()
}

// TestSpent: a crawl that is over its budget ends, with what it has in flight.
func TestSpent(t *testing.T) {
	r := newRig(t, Options{})
	for h := range 9 {
		r.add(item(h, 0))
	}
	if err := r.f.SetBudget(t.Context(), Budget{Crawl: Limits{URLs: 4}}); err != nil {
		t.Fatal(err)
	}
	var all []*Lease
	for l := r.take(); l != nil; l = r.take() {
		r.f.Release(l, r.now)
		all = append(all, l)
	}
	if len(all) != 4 {
		t.Fatalf("%d are taken", len(all))
	}
	r.batch(func(b *Batch) error { return b.Done(all[0], Outcome{Status: 200, Due: r.now}) })
	if err := r.f.SetBudget(t.Context(), Budget{Crawl: Limits{URLs: 1}}); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := r.f.Wait(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end with %d in flight: %v", r.f.Flying(), err)
	}
	r.batch(func(b *Batch) error {
		for _, l := range all[1:] {
			if err := b.Done(l, Outcome{Status: 200, Due: r.now}); err != nil {
				return err
			}
		}
		return nil
	})
	if err := r.f.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if c := r.counts(); c.Spent != 1 || c.Queued != 5 || c.Open() != 0 {
		t.Errorf("%+v", c)
	}
	r.again()
	if l := r.take(); l != nil {
		t.Errorf("%s is taken after a start", l.URL)
	}
	if err := r.f.SetBudget(t.Context(), Budget{}); err != nil {
		t.Fatal(err)
	}
	if l := r.take(); l == nil {
		t.Error("nothing is taken with more of a budget")
	}
}

// TestDelete: what is deleted while others take and write is never taken, and what is taken is not told as deleted. A deletion
// that fails half-way leaves whole what it did not come to.
func TestDelete(t *testing.T) {
	r := newRig(t, Options{})
	const hosts, urls = 5, 1000
	for h := range hosts {
		var items []Item
		for n := range urls {
			items = append(items, item(h, n))
		}
		r.add(items...)
	}
	var mu sync.Mutex
	taken, gone := map[string]bool{}, map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				l, err := r.f.Take(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				if taken[l.URL] || gone[l.URL] {
					t.Errorf("%s is taken: before %v, deleted %v", l.URL, taken[l.URL], gone[l.URL])
				}
				taken[l.URL] = true
				mu.Unlock()
				r.f.Release(l, time.Now())
				if err := r.st.Update(func(tx *store.Tx) error {
					b, err := r.f.Begin(tx)
					if err == nil {
						err = b.Done(l, Outcome{Status: 200, Due: time.Now()})
					}
					return errors.Join(err, b.Write())
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls := 0
	d := Deletion{Match: func(u string) bool { return strings.HasSuffix(u, "7") || strings.HasSuffix(u, "3") }}
	d.Commit = func(all []QueuedURL, remove func(*Batch) error) error {
		mu.Lock()
		for _, u := range all {
			if taken[u.URL] || gone[u.URL] {
				t.Errorf("%s is deleted: taken %v, deleted before %v", u.URL, taken[u.URL], gone[u.URL])
			}
			gone[u.URL] = true
		}
		mu.Unlock()
		if calls++; calls == 1 {
			mu.Lock()
			clear(gone)
			mu.Unlock()
			return errors.New("no room")
		}
		return r.f.commit(all, remove)
	}
	if _, err := r.f.Delete(t.Context(), d); err == nil || err.Error() != "no room" {
		t.Errorf("got %v", err)
	}
	n, err := r.f.Delete(t.Context(), d)
	if err != nil {
		t.Error(err)
	}
	if err := r.f.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	group.Wait()
	r.recount()
	if c := r.counts(); len(taken)+len(gone) != hosts*urls || n != len(gone) || c.Left != uint64(n) || c.Done != uint64(len(taken)) {
		t.Errorf("%d taken, %d deleted of %d (told %d); %+v", len(taken), len(gone), hosts*urls, n, c)
	}
}

// TestForgotten: what is deleted to be forgotten is new when it is found again.
func TestForgotten(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1), item(1, 2))
	n, err := r.f.Delete(t.Context(), Deletion{Queue: item(1, 1).Queue, Forget: true})
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if n := r.add(item(1, 1)); n != 1 {
		t.Error("it is known")
	}
	if n, err = r.f.Delete(t.Context(), Deletion{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := r.add(item(1, 1)); n != 0 {
		t.Error("it is not known")
	}
	r.recount()
	if l := r.take(); l != nil {
		t.Errorf("%s is taken", l.URL)
	}
	if _, err := r.f.Delete(t.Context(), Deletion{Queue: "org,example,"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("of no host: %v", err)
	}
}

// TestPatterns: of an endless calendar so many URLs are queued as its budget says, however many rare patterns the host has beside
// it, and what is kept of them is bounded. What is over the budget is not known.
func TestPatterns(t *testing.T) {
	r := newRig(t, Options{})
	const budget = 30
	queued := 0
	put := func(b *Batch, n int) {
		article := item(1, n)
		article.Pattern, article.PatternBudget = fmt.Sprintf("host /article-%d-#", n), budget
		if fate, err := b.Put(&article); fate != New || err != nil {
			t.Errorf("article %d: %v, %v", n, fate, err)
		}
		day := item(1, 1_000_000+n)
		day.Pattern, day.PatternBudget = "host /#/#/#", budget
		fate, err := b.Put(&day)
		if fate == New {
			queued++
		}
		if want := map[bool]Fate{true: New, false: Over}[n < budget]; fate != want || err != nil {
			t.Errorf("day %d: %v, %v", n, fate, err)
		}
	}
	const together = 16
	for n := 0; n < 10*mostPatterns; n += together {
		if n%1024 == 0 {
			r.again()
		}
		r.batch(func(b *Batch) error {
			for i := range together {
				put(b, n+i)
			}
			return nil
		})
		if t.Failed() {
			return
		}
	}
	r.recount()
	c := r.counts()
	if queued != budget || c.Refused != 10*mostPatterns-budget || c.Known != 10*mostPatterns+budget {
		t.Errorf("%d days are queued; %+v", queued, c)
	}
	r.see(func(rd store.Reader) error {
		rec, err := readHost(rd, 0)
		if rec.patterns > mostPatterns {
			t.Errorf("%d patterns are counted", rec.patterns)
		}
		return err
	})
}

// TestSources: each seed has the counts of what it began.
func TestSources(t *testing.T) {
	r := newRig(t, Options{})
	for n := range 30 {
		i := item(n%4, n)
		i.Source = fmt.Sprintf("seed%02d", n%10)
		r.add(i)
	}
	for range 12 {
		l := r.take()
		r.f.Release(l, r.now)
		r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Bytes: 100, Due: r.now}) })
	}
	r.again()
	var all []Source
	r.see(func(rd store.Reader) error {
		for page := []Source{{}}; len(page) > 0; {
			var err error
			if page, err = Sources(rd, page[len(page)-1].Name, 3); err != nil {
				return err
			}
			all = append(all, page...)
		}
		return nil
	})
	done := uint64(0)
	for n, s := range all {
		if s.Name != fmt.Sprintf("seed%02d", n) || s.Open+s.Done != 3 || s.Bytes != 100*s.Done {
			t.Errorf("%+v", s)
		}
		done += s.Done
	}
	if len(all) != 10 || done != 12 {
		t.Errorf("%d sources, %d URLs done", len(all), done)
	}
	r.recount()
}

// TestHeld: a host that is held while it is asked is not asked again before a person says so, also after a start; a crawl does
// not end meanwhile.
func TestHeld(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1), item(1, 2), item(1, 3))
	l := r.take()
	if err := r.f.Hold(l.Queue, true); err != nil {
		t.Fatal(err)
	}
	r.f.Release(l, r.now)
	none := func() {
		t.Helper()
		if l := r.take(); l != nil {
			t.Errorf("%s is taken", l.URL)
		}
	}
	none()
	r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: r.now}) })
	none()
	r.again()
	none()
	ended, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := r.f.Wait(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end of it: %v", err)
	}
	r.recount()
	if err := r.f.Hold(l.Queue, false); err != nil {
		t.Fatal(err)
	}
	if next := r.take(); next == nil || next.URL != item(1, 2).URL {
		t.Errorf("%+v is taken, want the second", next)
	}
}

// TestLowered: a limit that is lowered counts at once what is in flight, though more was read ahead.
func TestLowered(t *testing.T) {
	for name, lower := range map[string]func(f *Frontier) error{
		"of the host":   func(f *Frontier) error { return f.SetHostBudget(item(1, 1).Queue, &Limits{URLs: 1}) },
		"of every host": func(f *Frontier) error { return f.SetBudget(t.Context(), Budget{Host: Limits{URLs: 1}}) },
		"of the crawl":  func(f *Frontier) error { return f.SetBudget(t.Context(), Budget{Crawl: Limits{URLs: 1}}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.add(item(1, 1), item(1, 2), item(1, 3))
			r.f.Release(r.take(), r.now)
			if err := lower(r.f); err != nil {
				t.Fatal(err)
			}
			if l := r.take(); l != nil {
				t.Errorf("%s is taken", l.URL)
			}
		})
	}
}

// TestSeenRound: what was durable before a key was forgotten does not have it remembered.
func TestSeenRound(t *testing.T) {
	s, k := &seen{}, sumOf("key")
	before := s.now()
	s.put([]sum{k}, before)
	s.drop(k)
	if s.put([]sum{k}, before); s.has(k) {
		t.Error("it is remembered again")
	}
	if s.put([]sum{k}, s.now()); !s.has(k) {
		t.Error("it is not remembered")
	}
}
