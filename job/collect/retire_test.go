package collect_test

import (
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/job/collect"
	"holdfast/kernel/store"
)

// TestASinkThatIsNotConfiguredKeepsItsRows: a typo in a sink's name costs nothing; what was pending for the
// sink, and what came in meanwhile, is delivered when the name is right again.
func TestASinkThatIsNotConfiguredKeepsItsRows(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 50, Keep: -1})
	r.wrap = func(s connector.Sink) connector.Sink {
		return &failing{s, fault.New(fault.Transient, "connection refused")}
	}
	r.run()
	r.name = "mian"
	r.sim.Publish(10)
	r.run()
	for _, k := range r.books().Sinks {
		if k.Sink == "main" && k.Pending == 0 || k.Sink == "mian" && k.Pending != k.Accepted {
			t.Errorf("sink %s: %+v", k.Sink, k.Flow)
		}
	}
	r.name, r.wrap = "main", nil
	r.cfg.Forget = []string{"mian"}
	r.run()
	b := r.books()
	if len(b.Sinks) != 1 || b.Sinks[0].Delivered != b.Accepted || b.Sinks[0].Pending != 0 || !b.Balanced() {
		t.Errorf("books at the end: %+v, want one sink with all %d rows", b.Sinks, b.Accepted)
	}
	if got, want := len(r.ids()), len(r.expected()); got != want {
		t.Errorf("the sink has %d rows, want %d", got, want)
	}
}

// TestASinkThatComesBackBeginsAnew: removed, renamed, and added again: each time another sink, with an id and
// a law of its own, that gets what comes in from then on and inherits nothing.
func TestASinkThatComesBackBeginsAnew(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 50, Keep: -1})
	r.name = "main"
	r.run()
	ids := map[uint32]string{r.sinkID("main"): "main"}
	was := r.books()
	for _, name := range []string{"other", "main", "other"} {
		r.name = name
		r.sim.Publish(10)
		r.run()
		b := r.books()
		id := r.sinkID(name)
		if old, twice := ids[id]; twice {
			t.Errorf("sink %s has the id %d that %s had", name, id, old)
		}
		ids[id] = name
		if len(b.Sinks) != 1 || b.Sinks[0].Sink != name {
			t.Fatalf("got sinks %+v, want %s alone", b.Sinks, name)
		}
		if k := b.Sinks[0]; k.Accepted != b.Accepted-was.Accepted || k.Delivered != k.Accepted || k.Accepted == 0 {
			t.Errorf("sink %s: got %+v, want the %d rows since it was added", name, k.Flow, b.Accepted-was.Accepted)
		}
		was = b
	}
}

// sinkID is the number that stands for a sink's name in the store.
func (r *rig) sinkID(name string) (id uint32) {
	r.t.Helper()
	st := r.open()
	defer st.Close()
	err := st.View(r.t.Context(), func(rd store.Reader) error {
		all, err := store.NamesOf(rd, store.SinkName)
		id = all[name]
		return err
	})
	if err != nil || id == 0 {
		r.t.Fatalf("sink %s has no id (%v)", name, err)
	}
	return id
}

// TestReplayedRowsAreNoGap: what expired for a sink and is delivered to it by a replay is not lost any more.
func TestReplayedRowsAreNoGap(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 3000, PageLimit: 100})
	r.limit, r.policy = 8<<10, collect.Expire
	r.cfg.Retain.Age = time.Hour
	r.wrap = func(s connector.Sink) connector.Sink { return &failing{s, fault.New(fault.Transient, "away")} }
	r.run()
	before := r.books()
	if lost := before.GapSums.Lost; lost == 0 || lost != before.Sinks[0].Expired {
		t.Fatalf("%d rows are lost in gaps, %d expired", lost, before.Sinks[0].Expired)
	}
	st := r.open()
	out, err := intake(t, st).ReplayTo(t.Context(), collect.Replay{Sink: "main"}, func(uint64, uint64) {})
	st.Close()
	if err != nil || out.Rows != before.Sinks[0].Expired {
		t.Fatalf("replayed %d rows (%v), want the %d that expired", out.Rows, err, before.Sinks[0].Expired)
	}
	r.wrap, r.limit = nil, 0
	r.run()
	b := r.books()
	if b.GapSums.Lost != 0 || b.GapSums.Filled != before.GapSums.Lost || b.Sinks[0].Expired != 0 ||
		b.Sinks[0].Delivered != b.Accepted {
		t.Errorf("at the end: gaps %+v, sink %+v; want nothing lost", b.GapSums, b.Sinks[0].Flow)
	}
}
