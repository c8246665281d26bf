package collect_test

import (
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
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
