package sinktest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/tests/testenv"
)

// The cases about asking a sink, and about what it leaves behind.

func readerAgrees(t *testing.T, tg *Target) {
	d := start(t, tg)
	reader := d.sink.Reader()
	if reader == nil {
		t.Log("this sink can't be read back")
		return
	}
	ctx, cancel := d.patient()
	defer cancel()
	if key, ok, err := reader.Highest(ctx); ok || err != nil {
		t.Errorf("highest of nothing: got %d %v %v", key, ok, err)
	}
	d.send(5_000)
	d.send(300)
	spots := d.wanted()
	keys := keysOf(spots)
	if key, ok, err := reader.Highest(ctx); !ok || err != nil || key != keys[len(keys)-1] {
		t.Errorf("highest: got %d %v %v, want %d", key, ok, err, keys[len(keys)-1])
	}
	for _, r := range []connector.KeyRange{
		{From: 0, To: 1<<64 - 1}, {From: keys[0], To: keys[len(keys)-1]},
		{From: keys[10], To: keys[10]}, {From: keys[100] + 1, To: keys[2000] - 1}, {From: 0, To: 5},
		{From: keys[len(keys)-1] + 1, To: 1<<64 - 1},
	} {
		readRange(t, ctx, reader, spots, r)
	}
	calls := 0
	err := reader.Keys(ctx, connector.KeyRange{To: 1<<64 - 1}, func(uint64, uint64) error {
		calls++
		return errStop
	})
	if !errors.Is(err, errStop) || calls != 1 {
		t.Errorf("a walk that is stopped: got %v after %d calls", err, calls)
	}
}

func readRange(t *testing.T, ctx context.Context, reader connector.SinkReader, spots []Spot,
	r connector.KeyRange) {
	t.Helper()
	want := tally(spots, r)
	if got, err := reader.Tally(ctx, r); err != nil || got != want {
		t.Errorf("tally of %v: got %+v %v, want %+v", r, got, err, want)
	}
	var got []uint64
	err := reader.Keys(ctx, r, func(key, rows uint64) error {
		if rows != 1 {
			t.Errorf("key %d: got %d rows, want 1", key, rows)
		}
		got = append(got, key)
		return nil
	})
	in := slices.DeleteFunc(keysOf(spots), func(k uint64) bool { return k < r.From || k > r.To })
	if err != nil || !slices.Equal(got, in) {
		t.Errorf("keys of %v: got %d keys %v, want %d in order", r, len(got), err, len(in))
	}
}

func probe(t *testing.T, tg *Target) {
	d := start(t, tg)
	d.send(10)
	ctx, cancel := d.patient()
	defer cancel()
	for range 5 {
		if err := d.sink.Probe(ctx); err != nil {
			t.Errorf("probe of a target that is well: %v", err)
		}
	}
	d.verify() // a probe leaves no trace
	if !lacks(t, tg.Outage.Lacks) {
		d.do("outage", tg.Outage.Do)
		if err := d.sink.Probe(ctx); !outage(err) {
			t.Errorf("probe during an outage: got %v, want an outage", err)
		}
		d.do("end of outage", tg.Outage.Undo)
		for {
			err := d.sink.Probe(ctx)
			if err == nil {
				break
			}
			d.wait(ctx, "probe after an outage", err)
		}
	}
	d.send(10)
	d.verify()
}

// beside asks while rows are written: the contract allows it from any goroutine.
func beside(t *testing.T, tg *Target) {
	d := start(t, tg)
	ctx, cancel := context.WithCancel(t.Context())
	reader := d.sink.Reader()
	var askers sync.WaitGroup
	for range 2 {
		askers.Go(func() {
			for ctx.Err() == nil {
				if err := d.sink.Probe(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("probe beside writes: %v", err)
				}
				if reader == nil {
					continue
				}
				if _, _, err := reader.Highest(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("highest beside writes: %v", err)
				}
				_, err := reader.Tally(ctx, connector.KeyRange{To: 1<<63 - 1})
				if err != nil && ctx.Err() == nil {
					t.Errorf("tally beside writes: %v", err)
				}
			}
		})
	}
	for range 10 {
		d.send(tg.Large / 50)
	}
	cancel()
	askers.Wait()
	d.verify()
}

func leavesNothing(t *testing.T, tg *Target) {
	before := append(testenv.ProxyLeaks(), goleak.IgnoreCurrent())
	d := start(t, tg)
	d.send(2_000)
	ctx, cancel := d.patient()
	defer cancel()
	if err := d.sink.Probe(ctx); err != nil {
		t.Errorf("probe: %v", err)
	}
	d.renew()
	d.send(100)
	d.close()
	if err := goleak.Find(before...); err != nil {
		t.Errorf("after Close: %v", err)
	}
}
