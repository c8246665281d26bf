package collect_test

import (
	"context"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// dropping is a feed that keeps nothing below an id any more.
type dropping struct {
	connector.Source
	below uint64
}

func (d dropping) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	p, err := d.Source.Fetch(ctx, r)
	if err != nil || p.Rows == nil {
		return p, err
	}
	keys, _ := record.Keys(d.Schema(), p.Rows)
	keep := make([]bool, len(keys))
	for i, k := range keys {
		keep[i] = k >= d.below
	}
	p.Rows, err = record.Keep(p.Rows, keep)
	return p, err
}

// TestAHoleBehindASalvageIsDamage: what the feed has no more when we come back from a salvage was lost by us.
func TestAHoleBehindASalvageIsDamage(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.run()
	last := r.sim.Newest()
	st := r.open()
	err := st.Update(func(tx *store.Tx) error { // as the salvage does
		ids, err := store.NamesOf(tx, store.SourceName)
		if err != nil {
			return err
		}
		return balance.PutGap(tx, balance.Gap{Source: ids["feed"], From: last + 1, To: last + 1, Missing: 1,
			Cause: balance.Damage, State: balance.GapFound, Found: time.Now(), Note: "it may be lost"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	r.sim.Publish(50)
	r.wrapSource = func(s connector.Source) connector.Source { return dropping{s, last + 21} }
	r.run()
	gaps := r.books().Gaps
	if len(gaps) != 1 || gaps[0].Cause != balance.Damage || gaps[0].Missing != 20 {
		t.Errorf("gaps: %+v, want one of 20 ids by damage", gaps)
	}
}
