package collect_test

import (
	"context"
	"testing"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
)

// byKey counts the rows of deliveries that are compared by key.
type byKey struct {
	connector.Sink
	rows *int64
}

func (b byKey) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if d.ByKey {
		*b.rows += d.Rows.NumRows()
	}
	return b.Sink.Write(ctx, d)
}
func (b byKey) Reader() connector.SinkReader { return ahead{b.Sink.Reader()} }

// ahead is a table in which another program has gone on.
type ahead struct{ connector.SinkReader }

func (ahead) Highest(context.Context) (uint64, bool, error) { return 6_040_100_000, true, nil }

// TestAnotherProgramWroteMeanwhile: what a sink holds above all that we know is compared by key at the next
// start, in the same life of the store.
func TestAnotherProgramWroteMeanwhile(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.run()
	r.sim.Publish(50)
	var rows int64
	r.wrap = func(s connector.Sink) connector.Sink { return byKey{s, &rows} }
	r.run()
	if rows != 50 {
		t.Errorf("%d rows were compared by key, want 50", rows)
	}
}
