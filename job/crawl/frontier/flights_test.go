package frontier

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flying opens a file of URLs in flight. in reports whether it has one.
func (r *rig) flying() (in func(url string) bool) {
	r.Helper()
	path := filepath.Join(r.TempDir(), "IN-FLIGHT")
	if _, err := r.f.OpenFlights(path, nil); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.f.CloseFlights() })
	return func(url string) bool {
		b, err := os.ReadFile(path)
		if err != nil {
			r.Fatal(err)
		}
		return strings.Contains(string(b), url+"\x00")
	}
}

// TestReturnAsked: a host that was asked in vain is left alone for its time, also behind a crash, and its URL is where it was.
func TestReturnAsked(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1), item(1, 2))
	in, url := r.flying(), item(1, 1).URL
	take := func() *Lease {
		t.Helper()
		l, err := r.f.Take(t.Context())
		if err != nil || l.URL != url || !in(url) {
			t.Fatal(l, err)
		}
		return l
	}
	for range 3 {
		l := take()
		r.now = time.Now()
		r.f.ReturnAsked(l, r.now.Add(20*time.Millisecond))
		if l := r.take(); l != nil {
			t.Fatalf("%s is taken at once", l.URL)
		}
		if !in(url) {
			t.Fatal("a start behind a crash knows nothing of it")
		}
	}
	l := take()
	if l.slot > 1 {
		t.Errorf("slot %d: the file grows", l.slot)
	}
	due := time.Now().Add(time.Second)
	r.f.Release(l, due)
	r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: due}) })
	if in(url) {
		t.Error("it is in flight when the store has the time of its host")
	}
	r.recount()
}

// TestGuestBehindCrash: a host that was asked as a guest when the crawl was killed is left alone at the next start, known or not.
func TestGuestBehindCrash(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1))
	path := filepath.Join(t.TempDir(), "IN-FLIGHT")
	if _, err := r.f.OpenFlights(path, nil); err != nil {
		t.Fatal(err)
	}
	for h := range 4 {
		leave, err := r.f.TryGuest(item(h, 1).Queue, item(h, 1).URL)
		if leave == nil {
			t.Fatal(err)
		}
		if h == 1 || h == 2 { // one that is known, and one that is not
			leave(time.Now())
		}
	}
	if err := r.f.CloseFlights(); err != nil {
		t.Fatal(err)
	}
	r.again()
	queues := map[string]string{}
	for h := range 4 {
		queues[item(h, 1).URL] = item(h, 1).Queue
	}
	asked := 0
	left, err := r.f.OpenFlights(path, func(url string) (string, time.Duration, error) {
		asked++
		return queues[url], time.Hour, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.f.CloseFlights()
	if asked != 4 || left != 4 {
		t.Errorf("%d hosts are known to have been asked", asked)
	}
	r.add(item(2, 1), item(3, 1), item(9, 1))
	r.now = time.Now()
	if l := r.take(); l == nil || l.URL != item(9, 1).URL {
		t.Errorf("got %+v", l)
	}
	if l := r.take(); l != nil {
		t.Errorf("%s at once", l.URL)
	}
	if leave, err := r.f.TryGuest(item(0, 1).Queue, item(0, 1).URL); leave != nil || err != nil {
		t.Errorf("a guest at once: %v", err)
	}
}

// TestLeasesMeanwhile: what is in flight may be asked for while URLs are taken and given back; the race detector is the judge.
func TestLeasesMeanwhile(t *testing.T) {
	r := newRig(t, Options{})
	for h := range 8 {
		r.add(item(h, 1))
	}
	r.flying()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 500 {
			l, err := r.f.Take(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			r.f.Return(l)
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			if n := len(r.f.Leases()); n > 1 {
				t.Fatalf("%d in flight", n)
			}
		}
	}
}
