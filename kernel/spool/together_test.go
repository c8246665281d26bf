package spool

import (
	"context"
	"sync"
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestExpiryBesideDeliveries: the intake expires blocks while a sink works; each block goes one way.
func TestExpiryBesideDeliveries(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	const blocks = 300
	for i := range uint64(blocks) {
		appendBlock(t, st, s, 1+i, 1)
	}
	expired := map[uint64]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for more := true; more; {
			var gone []Head
			err := st.Update(func(tx *store.Tx) (err error) { gone, err = k.Expire(tx, 1); return err })
			if err != nil {
				t.Error(err)
			}
			for _, h := range gone {
				expired[h.Seq] = true
			}
			more = len(gone) > 0
		}
	})
	delivered := map[uint64]bool{}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		d, err := k.Next(ctx, Want{Rows: 2})
		cancel()
		if err != nil {
			break
		}
		for _, h := range d.Heads {
			delivered[h.Seq] = true
		}
		settle(t, st, k, d)
	}
	wg.Wait()
	for seq := range uint64(blocks) {
		if seq++; expired[seq] == delivered[seq] {
			t.Errorf("block %d: expired %v, delivered %v", seq, expired[seq], delivered[seq])
		}
	}
	if len(delivered) == 0 || len(expired) == 0 {
		t.Logf("%d delivered, %d expired: they did not meet", len(delivered), len(expired))
	}
}

// TestBlockForOneSinkIsNotShownToOthers: a later block may be told of before the commit that holds a
// block for one sink has told the others that they are done with it.
func TestBlockForOneSinkIsNotShownToOthers(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	other, err := s.Sink("other")
	if err != nil {
		t.Fatal(err)
	}
	durable, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := st.Update(func(tx *store.Tx) error {
			tx.OnDurable(func() { close(durable); <-release })
			_, err := s.AppendFor(tx, block(t, 1, 1), other.ID)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-durable
	appendBlock(t, st, s, 100, 1)
	d := take(t, k, Want{Rows: 10})
	if got := keysOf(d); len(got) != 1 || got[0] != 100 {
		t.Errorf("got rows %v, want 100 alone", got)
	}
	close(release)
	wg.Wait()
}

// TestExpiryOfNothing leaves the sink's set as it was.
func TestExpiryOfNothing(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	appendBlock(t, st, s, 1, 1)
	err := st.Update(func(tx *store.Tx) error {
		if gone, err := k.Expire(tx, 0); err != nil || len(gone) > 0 {
			t.Errorf("got %v %v, want nothing", gone, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := take(t, k, Want{Rows: 10}); d.Rows.NumRows() != 1 {
		t.Error("the block is gone")
	}
}
