package frontier

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestGuest: a host is asked as a guest as it is asked for what is in its queue: by one at a time, and not before it may
// be. That holds for one that is not known, too.
func TestGuest(t *testing.T) {
	r := newRig(t, Options{})
	r.now = time.Now() // a guest goes by it
	r.add(item(1, 1), item(1, 2))
	may := func(queue string) func(time.Time) {
		t.Helper()
		leave, err := r.f.TryGuest(queue, "http://example.com/robots.txt")
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	known, unknown := item(1, 1).Queue, item(7, 1).Queue
	l := r.take()
	if may(known) != nil {
		t.Fatal("it is asked already")
	}
	r.f.Release(l, time.Now().Add(-time.Second))
	for _, queue := range []string{known, unknown} {
		leave := may(queue)
		if leave == nil || may(queue) != nil {
			t.Fatalf("%s: the first may not, or a second may", queue)
		}
		if l := r.take(); queue == known && l != nil {
			t.Fatalf("%s while its host is asked", l.URL)
		} else if l != nil {
			r.f.Return(l)
		}
		leave(time.Now().Add(time.Hour))
		if may(queue) != nil {
			t.Fatalf("%s may be asked again at once", queue)
		}
	}
	if l := r.take(); l != nil {
		t.Fatalf("%s before its time", l.URL)
	}
	r.now = r.now.Add(2 * time.Hour)
	if l := r.take(); l == nil || l.URL != item(1, 2).URL {
		t.Fatalf("got %+v, want the second", l)
	}
	r.recount()
}

// TestGuestWaits: whoever waits goes on when the host may be asked; and not, if it is held, or ctx ends.
func TestGuestWaits(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1))
	queue := item(1, 1).Queue
	leave, err := r.f.Guest(t.Context(), queue, item(1, 1).URL)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		next, err := r.f.Guest(t.Context(), queue, item(1, 1).URL)
		if err == nil {
			next(time.Now())
		}
		done <- err
	}()
	leave(time.Now().Add(20 * time.Millisecond))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := r.f.Hold(queue, true); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := r.f.Guest(ctx, queue, item(1, 1).URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v of a host that is held", err)
	}
}

// TestGuestStays: a host that a guest asks is in memory until it leaves, however many come before it: else there would be
// two of it, each with URLs in flight of its own.
func TestGuestStays(t *testing.T) {
	r := newRig(t, Options{Window: 1, PerHost: 2})
	r.add(item(1, 1), item(1, 2), item(1, 3), item(1, 4))
	late := time.Now().Add(-time.Second) // behind those that were never asked
	l := r.take()
	r.f.Release(l, late)
	r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: late}) })
	leave, err := r.f.TryGuest(item(1, 1).Queue, item(1, 1).URL)
	if leave == nil {
		t.Fatal("the host may not be asked", err)
	}
	for h := 2; h < 9; h++ {
		r.add(item(h, 1))
	}
	r.now = time.Now()
	var all []*Lease
	flying := func() (n int) {
		for l := r.take(); l != nil; l = r.take() {
			all = append(all, l)
		}
		for _, l := range all {
			if l.Queue == item(1, 1).Queue {
				n++
			}
		}
		return n
	}
	if n := flying(); n != 1 {
		t.Errorf("%d URLs in flight beside the guest", n)
	}
	leave(late)
	if n := flying(); n != 2 {
		t.Errorf("%d URLs in flight behind the guest", n)
	}
	for _, l := range all {
		r.f.Release(l, r.now)
		r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: r.now}) })
	}
	r.recount()
}

// TestGuestIsAdded: a host that is first met as a guest, and then has URLs, is asked by one at a time all the same, and
// not before its time.
func TestGuestIsAdded(t *testing.T) {
	for _, first := range []bool{true, false} { // it leaves before the URLs come
		r := newRig(t, Options{})
		leave, err := r.f.TryGuest(item(1, 1).Queue, item(1, 1).URL)
		if leave == nil {
			t.Fatal(err)
		}
		due := time.Now().Add(time.Hour)
		if first {
			leave(due)
		}
		r.add(item(1, 1), item(1, 2), item(2, 1))
		var all []string
		for l := r.take(); l != nil; l = r.take() {
			all = append(all, l.URL)
		}
		if !slices.Equal(all, []string{item(2, 1).URL}) {
			t.Errorf("left first: %v: %v are taken", first, all)
		}
		if !first {
			leave(due)
		}
		if l := r.take(); l != nil {
			t.Errorf("left first: %v: %s is taken before its time", first, l.URL)
		}
		r.now = due.Add(time.Second)
		if l := r.take(); l == nil || l.URL != item(1, 1).URL {
			t.Errorf("left first: %v: got %+v in its time", first, l)
		}
		r.recount()
	}
}

// TestGuestBesideACommit: a host whose last URL is just being written down is not asked before the time that stands in
// that commit.
func TestGuestBesideACommit(t *testing.T) {
	r := newRig(t, Options{})
	for n := range 80 {
		i := item(n, 1)
		r.add(i)
		r.now = time.Now()
		l := r.take()
		due, written := time.Now().Add(time.Hour), make(chan struct{})
		var early atomic.Bool
		var guests sync.WaitGroup
		for range 2 {
			guests.Go(func() {
				for over := false; !over; {
					select {
					case <-written:
						over = true // and once more
					default:
					}
					leave, err := r.f.TryGuest(i.Queue, i.URL)
					if err != nil {
						t.Error(err)
					}
					if leave != nil {
						early.Store(true)
						leave(due)
					}
				}
			})
		}
		r.f.Release(l, due)
		r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: due}) })
		close(written)
		guests.Wait()
		if early.Load() {
			t.Fatalf("host %d was asked an hour too early", n)
		}
	}
}
