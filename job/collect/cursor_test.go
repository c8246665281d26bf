package collect_test

import (
	"context"
	"testing"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
)

// elsewhere is a sink whose table holds an id that no feed gave.
type elsewhere struct{ connector.Sink }

func (e elsewhere) Reader() connector.SinkReader { return tall{e.Sink.Reader()} }

type tall struct{ connector.SinkReader }

func (tall) Highest(context.Context) (uint64, bool, error) { return 600_000_000_000_000, true, nil }

// TestAnImpossibleIDInASinkDoesNotEndCollecting: to go on behind it would be to collect nothing.
func TestAnImpossibleIDInASinkDoesNotEndCollecting(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.wrap = func(s connector.Sink) connector.Sink { return elsewhere{s} }
	r.run()
	if got, want := len(r.ids()), len(r.expected()); got != want || want == 0 {
		t.Errorf("the sink has %d rows, want %d", got, want)
	}
}
