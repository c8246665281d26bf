package sourcetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/record"
	"holdfast/connector"
)

// Flow is a stream under the suite's control, and the way to open a source on it.
type Flow struct {
	// Open returns a new source; the suite closes it. A source that can't wait must hold 1000 messages.
	Open func(t *testing.T) connector.Source
	// Publish makes the items with the keys from one to the other available, in this order.
	Publish func(from, to uint64)
	// Listening waits until a Fetch that is under way hears what is published; nil for a source that
	// finds what was there before. It may publish what can't become a row.
	Listening func()
	// End says that nothing more will come; nil for a stream that has no end.
	End func()
	// OneLife: what was read can't be read again by another source.
	OneLife bool
	// Leaks are goroutines of the servers' own.
	Leaks []goleak.Option
}

// RunStream runs the suite of sources whose Fetch waits until there is something. make is called for every
// part, and cleans up by t.Cleanup.
func RunStream(t *testing.T, make func(t *testing.T) Flow) {
	for _, part := range []struct {
		name string
		test func(*testing.T, *flow)
	}{
		{"InOrderOnce", testInOrder}, {"Waits", testWaits}, {"Resume", testStreamResume},
		{"Again", testAgain}, {"Overload", testOverload}, {"End", testEnd},
	} {
		t.Run(part.name, func(t *testing.T) {
			f := &flow{Flow: make(t)}
			ignore := append(slices.Clone(f.Leaks), goleak.IgnoreCurrent())
			f.src = f.Open(t)
			part.test(t, f)
			if err := f.src.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := goleak.Find(ignore...); err != nil {
				t.Errorf("a source leaves goroutines behind: %v", err)
			}
		})
	}
}

// flow gathers what a source gave in one part.
type flow struct {
	Flow
	src    connector.Source
	cursor []byte
	keys   []uint64
	lost   int64
	ended  bool
}

// take adds a page to what came.
func (f *flow) take(t *testing.T, p connector.Page) {
	t.Helper()
	if !p.More && !p.End {
		t.Error("a page of a stream says that there is no more")
	}
	if p.Rows != nil && p.Rows.NumRows() > 0 {
		keys, ok := record.Keys(f.src.Schema(), p.Rows)
		if !ok {
			t.Fatal("a page has no integer keys")
		}
		f.keys = append(f.keys, keys...)
	}
	f.cursor, f.lost, f.ended = p.Cursor, f.lost+p.Lost, f.ended || p.End
}

func (f *flow) page(t *testing.T, cursor []byte) connector.Page {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := f.src.Fetch(ctx, connector.Request{Cursor: cursor})
	if err != nil {
		t.Fatalf("after %d rows and %d lost: %v", len(f.keys), f.lost, err)
	}
	return p
}

// until fetches until so many rows have come or were lost.
func (f *flow) until(t *testing.T, n int) {
	t.Helper()
	for len(f.keys)+int(f.lost) < n && !f.ended {
		f.take(t, f.page(t, f.cursor))
	}
}

// want checks that the keys are those from one to the other, each once, in order.
func (f *flow) want(t *testing.T, from, to uint64) {
	t.Helper()
	if uint64(len(f.keys)) != to-from+1 {
		t.Fatalf("got %d rows, want those from %d to %d", len(f.keys), from, to)
	}
	for i, k := range f.keys {
		if k != from+uint64(i) {
			t.Fatalf("row %d has key %d, want %d", i, k, from+uint64(i))
		}
	}
}

// hear makes a source that can't wait hear.
func (f *flow) hear(t *testing.T) {
	t.Helper()
	if f.Listening == nil {
		return
	}
	came := make(chan connector.Page)
	go func() { // ends by its context at the latest; waited for below
		defer close(came)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cursor := f.cursor
		// The first page of all says since when it hears, and comes before what it heard. Behind a break the page
		// that tells of it is enough: the server may have given what Listening said to the former connection.
		for empty := true; empty; {
			p, err := f.src.Fetch(ctx, connector.Request{Cursor: cursor})
			if err != nil {
				t.Errorf("the first fetch: %v", err)
				return
			}
			cursor, empty = p.Cursor, p.Missed == nil && p.Rows.NumRows() == 0 && len(p.Rejected) == 0
			came <- p
		}
	}()
	var pages sync.WaitGroup
	pages.Go(func() {
		for p := range came {
			f.take(t, p)
		}
	})
	f.Listening()
	pages.Wait()
	f.keys = nil
}

func testInOrder(t *testing.T, f *flow) {
	f.hear(t)
	f.Publish(1, 700)
	f.until(t, 700)
	f.Publish(701, 900)
	f.until(t, 900)
	f.want(t, 1, 900)
	if f.lost != 0 {
		t.Errorf("%d are told to be lost, and none is", f.lost)
	}
}

// testWaits: a fetch waits, ends with its context at once, and one that waits has what comes.
func testWaits(t *testing.T, f *flow) {
	f.hear(t)
	f.Publish(1, 10)
	f.until(t, 10)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for { // what tells that somebody listens may come still
		began := time.Now()
		p, err := f.src.Fetch(ctx, connector.Request{Cursor: f.cursor})
		if err == nil && p.Rows.NumRows() == 0 && len(p.Rejected) > 0 {
			f.take(t, p)
			continue
		}
		took := time.Since(began)
		<-ctx.Done() // a library that goes by the deadline itself may be first by a hair
		if !errors.Is(err, ctx.Err()) || took > time.Second {
			t.Fatalf("got %v after %v, want the context's end", err, took)
		}
		break
	}
	f.hear(t) // its connection may have ended with the fetch
	done := make(chan connector.Page, 1)
	go func() { done <- f.page(t, f.cursor) }()
	time.Sleep(100 * time.Millisecond) // to be within the fetch; the outcome is the same if not
	f.Publish(11, 12)
	f.keys = nil
	f.take(t, <-done)
	f.until(t, 2)
	f.want(t, 11, 12)
}

// testStreamResume goes on with a new source from every cursor, as after a crash.
func testStreamResume(t *testing.T, f *flow) {
	if f.OneLife || f.Listening != nil {
		return
	}
	f.Publish(1, 2500)
	for len(f.keys) < 2500 {
		f.take(t, f.page(t, f.cursor))
		if err := f.src.Close(); err != nil {
			t.Fatal(err)
		}
		f.src = f.Open(t)
	}
	f.want(t, 1, 2500)
}

// testAgain: what was not committed is asked for again, and comes again, whole and in order.
func testAgain(t *testing.T, f *flow) {
	if f.Listening != nil {
		return
	}
	f.Publish(1, 900)
	for len(f.keys) < 900 {
		cursor := f.cursor
		first := f.page(t, cursor)
		again := f.page(t, cursor)
		a, _ := record.Keys(f.src.Schema(), first.Rows)
		b, _ := record.Keys(f.src.Schema(), again.Rows)
		if n := min(len(a), len(b)); n == 0 || !slices.Equal(a[:n], b[:n]) {
			t.Fatalf("from cursor %s came %d rows, and then others, %d", cursor, len(a), len(b))
		}
		f.take(t, again)
	}
	f.want(t, 1, 900)
}

// testOverload: a source that can't wait counts what it can't hold; one that can loses nothing.
func testOverload(t *testing.T, f *flow) {
	const n = 4000
	f.hear(t)
	f.Publish(1, n)
	f.until(t, n)
	if f.src.Traits().Pausable {
		f.want(t, 1, n)
	} else if f.lost == 0 || len(f.keys) < 1000 {
		t.Errorf("got %d rows and %d lost of %d, want the first 1000 at least, and a loss", len(f.keys), f.lost, n)
	}
	if !slices.IsSorted(f.keys) || len(slices.Compact(slices.Clone(f.keys))) != len(f.keys) {
		t.Error("rows come twice, or out of order")
	}
	if f.src.Traits().Pausable && f.lost != 0 {
		t.Errorf("%d are told to be lost by a source that waits", f.lost)
	}
}

// testEnd: the end comes behind the last item, and nothing after it.
func testEnd(t *testing.T, f *flow) {
	if f.End == nil {
		return
	}
	f.Publish(1, 900)
	f.End()
	for !f.ended {
		f.take(t, f.page(t, f.cursor))
	}
	f.want(t, 1, 900)
}
