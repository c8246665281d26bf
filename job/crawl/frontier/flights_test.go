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
	if err := r.f.OpenFlights(path, nil); err != nil {
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
