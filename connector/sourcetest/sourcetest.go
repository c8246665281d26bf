// Package sourcetest is the contract suite of sources: what connector.Source promises, asked of an
// implementation against a server whose faults the suite can switch. Every source runs it:
//
//	sourcetest.Run(t, func(t *testing.T) sourcetest.Feed { ... })
//
// It is for sources with integer keys. Whatever the server does, each item must come at least once,
// and no page may claim to be complete for a range in which it lacks something that was there.
package sourcetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// Fault is something that a server can do.
type Fault string

// The faults. Reset to Silence are outages; Throttle asks for time; Refuse turns us down; the rest
// spoil pages.
const (
	Reset       Fault = "reset"        // connections end without an answer
	ServerError Fault = "server error" // an error status
	Garbage     Fault = "garbage"      // bytes that mean nothing
	Silence     Fault = "silence"      // no answer ever
	Throttle    Fault = "throttle"     // come back in some seconds
	Refuse      Fault = "refuse"       // who we are is not accepted
	Expire      Fault = "expire"       // the session ends once
	Cut         Fault = "cut"          // answers end somewhere
	Reverse     Fault = "reverse"      // answers in descending order
	CutReverse  Fault = "cut reverse"  // both
)

// Feed is a server under the suite's control, and the way to open a source on it.
type Feed struct {
	// Open returns a new source; the suite closes it. Time-outs are to be short: Silence waits for
	// one of them.
	Open func(t *testing.T) connector.Source
	// Publish makes n more items available. Keys and Bad are all those published so far, ascending:
	// what must become rows, and what can't.
	Publish   func(n int)
	Keys, Bad func() []uint64
	// Break switches a fault on; false if the server does not know it. Mend ends all of them.
	Break func(Fault) bool
	Mend  func()
	// StartsOver: Start begins at the beginning, whatever the highest key.
	StartsOver bool
	// Logins counts how often a source presented its credentials; nil if there are none.
	Logins func() int
}

// Run runs the suite. make is called for every part, and cleans up by t.Cleanup.
func Run(t *testing.T, make func(t *testing.T) Feed) {
	for _, part := range []struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"Traits", testTraits}, {"EverythingOnce", testEverything}, {"Resume", testResume},
		{"Start", testStart}, {"Fill", testFill}, {"Outages", testOutages}, {"Throttle", testThrottle},
		{"Refused", testRefused}, {"SpoiledPages", testSpoiled}, {"Cancel", testCancel},
	} {
		t.Run(part.name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() {
				if err := goleak.Find(ignore); err != nil {
					t.Errorf("a source leaves goroutines behind: %v", err)
				}
			})
			part.test(t, &suite{Feed: make(t), got: map[uint64]int{}, bad: map[uint64]int{}})
		})
	}
}

// suite gathers what a source gave in one part.
type suite struct {
	Feed
	got, bad map[uint64]int // how often each key came
}

// patience is how long any one call may take, a source's own time-outs included.
const patience = 20 * time.Second

// fetch asks once and checks what every page must hold.
func (s *suite) fetch(t *testing.T, src connector.Source, r connector.Request) (connector.Page, error) {
	t.Helper()
	there := append(slices.Clone(s.Keys()), s.Bad()...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := src.Fetch(ctx, r)
	if ctx.Err() != nil {
		t.Fatalf("a fetch does not end by itself within %v", patience)
	}
	if err != nil {
		return p, err
	}
	in := map[uint64]bool{}
	if p.Rows != nil && p.Rows.NumRows() > 0 {
		if !p.Rows.Schema().Equal(src.Schema().Schema) {
			t.Fatalf("a page has schema %v, want the source's", p.Rows.Schema())
		}
		keys, _ := record.Keys(src.Schema(), p.Rows)
		for _, k := range keys {
			s.got[k]++
			in[k] = true
		}
	}
	for _, rej := range p.Rejected {
		if rej.Reason == "" || len(rej.Raw) == 0 || len(rej.Raw) > 64<<10 {
			t.Errorf("a reject has %d raw bytes and the reason %q", len(rej.Raw), rej.Reason)
		}
		if k, err := strconv.ParseUint(rej.Key, 10, 64); err == nil {
			s.bad[k]++
			in[k] = true
		}
	}
	if c := p.Complete; c != nil {
		for _, k := range there {
			if k >= c.From && k <= c.To && !in[k] {
				t.Fatalf("a page claims %d to %d, and lacks %d", c.From, c.To, k)
			}
		}
	}
	return p, nil
}

// drain fetches from the cursor until there is no more, and returns the cursor.
func (s *suite) drain(t *testing.T, src connector.Source, cursor []byte) []byte {
	t.Helper()
	for range 1000 {
		p, err := s.fetch(t, src, connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatalf("fetch from cursor %q: %v", cursor, err)
		}
		cursor = p.Cursor
		if !p.More {
			return cursor
		}
	}
	t.Fatal("there is More after 1000 pages")
	return nil
}

// exactly checks that the keys from the given one on came, each often enough and none other.
func (s *suite) exactly(t *testing.T, after uint64, once bool) {
	t.Helper()
	want := map[uint64]bool{}
	check := func(kind string, published []uint64, came map[uint64]int) {
		for _, k := range published {
			if want[k] = true; k > after && (came[k] == 0 || once && came[k] != 1) {
				t.Fatalf("%s %d came %d times", kind, k, came[k])
			}
		}
	}
	check("row", s.Keys(), s.got)
	check("bad item", s.Bad(), s.bad)
	for k := range maps.Keys(s.got) {
		if !want[k] || once && k <= after {
			t.Fatalf("key %d came, which was not asked for", k)
		}
	}
}

func (s *suite) open(t *testing.T) connector.Source {
	t.Helper()
	src := s.Open(t)
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return src
}

func testTraits(t *testing.T, s *suite) {
	src := s.open(t)
	sch := src.Schema()
	if sch.Schema == nil || src.Traits().DenseKeys && sch.Key < 0 {
		t.Errorf("dense keys need a key column: %+v", sch)
	}
	if _, err := record.SchemaOf(sch.Schema); err != nil {
		t.Errorf("schema: %v", err)
	}
}

func testEverything(t *testing.T, s *suite) {
	s.Publish(2500)
	src := s.open(t)
	cursor := s.drain(t, src, nil)
	s.exactly(t, 0, true)
	if len(s.Bad()) > 0 && len(s.bad) == 0 {
		t.Error("bad items were not told")
	}
	for range 3 {
		s.Publish(40)
		cursor = s.drain(t, src, cursor)
		s.exactly(t, 0, true)
	}
	if again := s.drain(t, src, cursor); string(again) != string(cursor) {
		t.Errorf("the cursor moves from %s to %s when nothing is new", cursor, again)
	}
	s.exactly(t, 0, true)
}

// testResume goes on with a new source from every cursor, as after a crash.
func testResume(t *testing.T, s *suite) {
	s.Publish(2500)
	var cursor []byte
	for more := true; more; {
		src := s.Open(t)
		p, err := s.fetch(t, src, connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		cursor, more = p.Cursor, p.More
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.exactly(t, 0, true)
}

func testStart(t *testing.T, s *suite) {
	s.Publish(1200)
	keys := s.Keys()
	for _, after := range []uint64{0, keys[0], keys[len(keys)/2], keys[len(keys)-1]} {
		clear(s.got)
		clear(s.bad)
		src := s.open(t)
		s.drain(t, src, src.Start(after))
		if s.StartsOver {
			after = 0
		}
		s.exactly(t, after, true)
	}
}

func testFill(t *testing.T, s *suite) {
	src := s.open(t)
	if !src.Traits().Fillable {
		return
	}
	s.Publish(1200)
	keys := s.Keys()
	s.drain(t, src, src.Start(keys[len(keys)-1]))
	lo, hi := keys[100], keys[700]
	for from := lo; from <= hi; {
		p, err := s.fetch(t, src, connector.Request{Cursor: src.Start(hi),
			Fill: &connector.KeyRange{From: from, To: hi}})
		if err != nil {
			t.Fatal(err)
		}
		if p.Complete == nil || p.Complete.From > from || p.Complete.To < from {
			t.Fatalf("filling %d to %d: complete for %v", from, hi, p.Complete)
		}
		from = p.Complete.To + 1
	}
	for _, k := range keys[100:701] {
		if s.got[k] == 0 {
			t.Fatalf("key %d was not filled", k)
		}
	}
	last := max(keys[len(keys)-1], slices.Max(append(s.Bad(), 0)))
	p, err := s.fetch(t, src, connector.Request{Fill: &connector.KeyRange{From: last + 1, To: last + 9}})
	if err != nil || p.Complete == nil || p.Complete.From != last+1 || p.Complete.To < last+9 {
		t.Errorf("filling where there is nothing: %v, complete for %v", err, p.Complete)
	}
}

func testOutages(t *testing.T, s *suite) {
	s.Publish(1500)
	src := s.open(t)
	p, err := s.fetch(t, src, connector.Request{})
	if err != nil {
		t.Fatal(err)
	}
	cursor := p.Cursor
	for _, f := range []Fault{Reset, ServerError, Garbage, Silence} {
		if !s.Break(f) {
			continue
		}
		s.Publish(20)
		if _, err := s.fetch(t, src, connector.Request{Cursor: cursor}); !fault.Is(err, fault.Transient) {
			t.Errorf("%s: got %v of kind %v, want an outage", f, err, fault.KindOf(err))
		}
		s.Mend()
		cursor = s.drain(t, src, cursor)
		s.exactly(t, 0, true)
	}
}

func testThrottle(t *testing.T, s *suite) {
	s.Publish(10)
	src := s.open(t)
	if !s.Break(Throttle) {
		return
	}
	_, err := s.fetch(t, src, connector.Request{})
	if !fault.Is(err, fault.Throttled) || fault.WaitOf(err) <= 0 {
		t.Errorf("got %v of kind %v with wait %v, want a throttling with a wait", err, fault.KindOf(err),
			fault.WaitOf(err))
	}
	s.Mend()
	s.drain(t, src, nil)
	s.exactly(t, 0, true)
}

func testRefused(t *testing.T, s *suite) {
	s.Publish(10)
	if s.Logins == nil {
		return
	}
	src := s.open(t)
	s.drain(t, src, nil)
	if !s.Break(Expire) {
		return
	}
	before := s.Logins()
	clear(s.got)
	clear(s.bad)
	s.drain(t, src, nil)
	s.exactly(t, 0, true)
	if n := s.Logins() - before; n != 1 {
		t.Errorf("an expired session took %d logins, want 1", n)
	}
	if !s.Break(Refuse) {
		return
	}
	before = s.Logins()
	for range 5 {
		_, err := s.fetch(t, src, connector.Request{})
		if !fault.Is(err, fault.Credentials) || fault.HintOf(err) == "" {
			t.Errorf("refused: got %v of kind %v, hint %q", err, fault.KindOf(err), fault.HintOf(err))
		}
	}
	if n := s.Logins() - before; n > 1 {
		t.Errorf("refused: %d logins in 5 fetches, want 1 at most", n)
	}
}

// testSpoiled: pages that are cut, reversed or lack something never lose an item for good: it comes,
// or no page has claimed to be complete where it is.
func testSpoiled(t *testing.T, s *suite) {
	for _, f := range []Fault{Cut, Reverse, CutReverse} {
		t.Run(string(f), func(t *testing.T) {
			if !s.Break(f) {
				return
			}
			s.Publish(900)
			src := s.open(t)
			clear(s.got)
			clear(s.bad)
			cursor, fails := []byte(nil), 0
			for fails <= 20 {
				p, err := s.fetch(t, src, connector.Request{Cursor: cursor})
				if err != nil {
					if !fault.Is(err, fault.Transient) {
						t.Fatalf("got %v of kind %v", err, fault.KindOf(err))
					}
					fails++ // an answer without items, cut, may never be whole
					continue
				}
				if cursor = p.Cursor; !p.More {
					break
				}
			}
			s.Mend()
			cursor = s.drain(t, src, cursor)
			s.fillTheRest(t, src, cursor)
			s.exactly(t, 0, false)
		})
	}
}

// fillTheRest does what a job does about the gaps that are left.
func (s *suite) fillTheRest(t *testing.T, src connector.Source, cursor []byte) {
	t.Helper()
	if !src.Traits().Fillable || !src.Traits().DenseKeys {
		return
	}
	for _, k := range append(s.Keys(), s.Bad()...) {
		if s.got[k]+s.bad[k] > 0 {
			continue
		}
		if _, err := s.fetch(t, src, connector.Request{Cursor: cursor,
			Fill: &connector.KeyRange{From: k, To: k}}); err != nil {
			t.Fatal(err)
		}
	}
}

func testCancel(t *testing.T, s *suite) {
	s.Publish(10)
	src := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Fetch(ctx, connector.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v", err)
	}
	if !s.Break(Silence) {
		return
	}
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := src.Fetch(ctx, connector.Request{})
		done <- err
	}()
	time.Sleep(20 * time.Millisecond) // to be within the request; the outcome is the same if not
	began := time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Errorf("cancelled in silence: got %v after %v", err, time.Since(began))
	}
	s.Mend()
	s.drain(t, src, nil)
	s.exactly(t, 0, true)
}
