package collect_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// burying refuses the first row of its feed, and is away for all others if it is told to.
type burying struct {
	connector.Sink
	away bool
}

func (b burying) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	for i := range int(d.Rows.NumRows()) {
		if d.Rows.Column(0).ValueStr(i) == "6040000001" {
			return connector.Verdict{}, fault.New(fault.Invalid, "value out of range")
		}
	}
	if b.away {
		return connector.Verdict{}, fault.New(fault.Transient, "connection refused")
	}
	return b.Sink.Write(ctx, d)
}

// TestARowDiesOnceAcrossASalvage: a salvage gives up a delivery of which a row is dead already. Its block
// waits again, and the row with it: it must not be dead and pending, and not die a second time.
func TestARowDiesOnceAcrossASalvage(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.wrap = func(s connector.Sink) connector.Sink { return burying{s, true} }
	r.run()
	if f := r.books().Sinks[0]; f.Dead != 1 || f.Pending != 99 {
		t.Fatalf("books before: %+v", f.Flow)
	}
	_, err := engine.Salvage(t.Context(), engine.JobDir(r.dir, "spots"), "spots", errors.New("test"),
		engine.SalvageOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.books().Sinks[0]; f.Accepted != 100 || f.Pending != 100 || f.Dead != 0 {
		t.Errorf("books behind the salvage: %+v, want 100 rows that wait", f.Flow)
	}
	r.wrap = func(s connector.Sink) connector.Sink { return burying{s, false} }
	r.run()
	if f := r.books().Sinks[0]; f.Accepted != 100 || f.Delivered != 99 || f.Dead != 1 {
		t.Errorf("books at the end: %+v, want 99 rows delivered and one dead", f.Flow)
	}
	st := r.open()
	defer st.Close()
	err = st.View(t.Context(), func(rd store.Reader) error {
		dead, err := balance.ListDead(rd, 0, 10)
		if len(dead) != 1 {
			t.Errorf("%d dead letters, want 1", len(dead))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestALostBlockComesAgain: the rows of a block that a salvage can't read are asked for again, and no sink
// gets a row without being asked for its key first.
func TestALostBlockComesAgain(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.cfg.Intake.BlockRows = 10
	r.wrap = func(s connector.Sink) connector.Sink {
		return &failing{s, fault.New(fault.Transient, "connection refused")}
	}
	r.run()
	st := r.open()
	err := st.Update(func(tx *store.Tx) error {
		key := store.Blocks.K().U64(3)
		v, _, err := tx.Get(key)
		v[len(v)-1] ^= 1
		tx.Set(key, v)
		return err
	})
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = engine.Salvage(t.Context(), engine.JobDir(r.dir, "spots"), "spots", errors.New("test"),
		engine.SalvageOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if b := r.books(); b.GapSums.Missing < 10 || b.Sinks[0].Pending != 90 || b.Sinks[0].Expired != 10 {
		t.Errorf("books behind the salvage: %+v, gaps %+v", b.Sinks[0].Flow, b.GapSums)
	}
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows, 0} }
	r.run()
	if got := len(r.ids()); got != 100 || rows != 100 {
		t.Errorf("the sink has %d rows, %d of them compared by key; want all 100", got, rows)
	}
	if f := r.books().Sinks[0]; f.Pending != 0 || f.Delivered != 100 {
		t.Errorf("books at the end: %+v", f.Flow)
	}
}

// TestABlockWithoutAHeadExpires: what was pending tells how many rows went with it, and the books balance.
func TestABlockWithoutAHeadExpires(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.cfg.Intake.BlockRows = 10
	r.wrap = func(s connector.Sink) connector.Sink {
		return &failing{s, fault.New(fault.Transient, "connection refused")}
	}
	r.run()
	planned := r.books().Sinks[0].Pending
	st := r.open()
	err := st.Update(func(tx *store.Tx) error {
		for _, key := range []store.Key{store.Heads.K().U64(3), store.Blocks.K().U64(3), store.Blocks.K().U64(7),
			store.Heads.K().U64(7)} {
			v, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			v[0] ^= 0xff
			tx.Set(key, v)
		}
		tx.DeleteRange(store.Plans.K(), store.Plans.K().End())
		return nil
	})
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	r.sim.Publish(30)
	r.limit, r.policy = 1, collect.Expire
	r.run()
	if f := r.books().Sinks[0]; planned != 100 || f.Expired < 100 || f.Expired+f.Pending != f.Accepted ||
		r.books().GapSums.Lost != f.Expired {
		t.Errorf("books: %+v, of %d rows that waited; lost %d", f.Flow, planned, r.books().GapSums.Lost)
	}
}
