package collect_test

import (
	"context"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
)

// byKey counts the rows of deliveries that are compared by key.
type byKey struct {
	connector.Sink
	rows    *int64
	highest uint64
}

func (b byKey) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if d.ByKey {
		*b.rows += d.Rows.NumRows()
	}
	return b.Sink.Write(ctx, d)
}
func (b byKey) Reader() connector.SinkReader { return ahead{b.Sink.Reader(), b.highest} }

// ahead is a table in which another program has gone on.
type ahead struct {
	connector.SinkReader
	highest uint64
}

func (a ahead) Highest(context.Context) (uint64, bool, error) { return a.highest, true, nil }

// TestAnotherProgramWroteMeanwhile: what a sink holds above all that we know is compared by key at the next
// start, in the same life of the store.
func TestAnotherProgramWroteMeanwhile(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.run()
	r.sim.Publish(50)
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows, 6_040_100_000} }
	r.run()
	if rows != 50 {
		t.Errorf("%d rows were compared by key, want 50", rows)
	}
}

// TestAnotherProgramWroteWhatIsPending: the same rows that wait here for the sink to come back, and no others.
func TestAnotherProgramWroteWhatIsPending(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.run()
	r.sim.Publish(50)
	r.wrap = func(s connector.Sink) connector.Sink {
		return &failing{s, fault.New(fault.Transient, "connection refused")}
	}
	r.run()
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows, r.sim.Newest()} }
	r.run()
	if rows != 50 {
		t.Errorf("%d rows were compared by key, want 50", rows)
	}
}

// TestNoOtherProgramWrote: what we brought ourselves is no reason to compare what comes next.
func TestNoOtherProgramWrote(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.cfg.Retain.Age = time.Hour
	r.run()
	highest := r.sim.Newest()
	r.sim.Publish(50)
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows, highest} }
	r.run()
	if rows != 0 {
		t.Errorf("%d rows were compared by key, want none", rows)
	}
}

// TestAnUnknownOutcomeDoubtsItsRowsAlone: a process died behind the sink's commit and before ours. Its delivery
// is compared by key at the next start, and what is behind it is not.
func TestAnUnknownOutcomeDoubtsItsRowsAlone(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.run()
	r.sim.Publish(50)
	r.wrap = func(s connector.Sink) connector.Sink { return &mute{Sink: s} }
	r.run()
	r.sim.Publish(70)
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows, r.sim.Newest() - 70} }
	r.run()
	if rows != 50 {
		t.Errorf("%d rows were compared by key, want the 50 whose outcome was not known", rows)
	}
	if got := len(r.ids()); got != 220 {
		t.Errorf("%d rows in the sink, want 220", got)
	}
}

// mute takes the rows and says nothing.
type mute struct{ connector.Sink }

func (m *mute) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if v, err := m.Sink.Write(ctx, d); err != nil {
		return v, err
	}
	return connector.Verdict{}, fault.New(fault.Transient, "the answer was lost")
}
