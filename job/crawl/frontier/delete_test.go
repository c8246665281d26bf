package frontier

import (
	"errors"
	"testing"
	"time"
)

// TestDoomed: what is about to be deleted is not taken, nor queued again; when the deletion fails, it is.
func TestDoomed(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1), item(1, 2), item(1, 3))
	l := r.take()
	r.f.Release(l, r.now)
	r.batch(func(b *Batch) error { return b.Retry(l, r.now.Add(time.Minute), r.now) })
	r.now = r.now.Add(time.Hour)
	asked := 0
	failing := Deletion{Commit: func(gone []QueuedURL, _ func(*Batch) error) error {
		asked = len(gone)
		for range 3 {
			if l := r.take(); l != nil {
				t.Errorf("%s is taken", l.URL)
			}
		}
		if c := r.counts(); c.Waiting != 1 {
			t.Errorf("what waits was queued: %+v", c)
		}
		return errors.New("no room")
	}}
	if _, err := r.f.Delete(t.Context(), failing); err == nil || asked != 3 {
		t.Fatalf("%d URLs, %v", asked, err)
	}
	r.recount()
	for n := range 3 {
		l := r.take()
		if l == nil {
			t.Fatalf("%d are taken behind a deletion that failed", n)
		}
		r.f.Release(l, r.now)
	}
}

// TestHead: what went from a long queue is not stepped over for ever.
func TestHead(t *testing.T) {
	r := newRig(t, Options{})
	const urls = 5 * mostStale
	for n := range urls {
		r.add(item(1, n), item(2, n)) // so that the numbers of a queue have holes
	}
	for n := range 2 * (urls - mostStale) {
		l := r.take()
		r.f.Release(l, r.now)
		r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: r.now}) })
		if n%50 == 0 {
			r.recount()
		}
	}
	if n, err := r.f.Delete(t.Context(), Deletion{Match: func(url string) bool { return url != item(2, urls-1).URL }}); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	r.recount()
	if l := r.take(); l == nil || l.URL != item(2, urls-1).URL {
		t.Errorf("%+v is taken; %+v", l, r.counts())
	}
}
