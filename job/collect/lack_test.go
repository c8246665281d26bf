package collect_test

import (
	"context"
	"sync"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/store"
)

// choosy is a sink that refuses the first row of every delivery.
type choosy struct{ connector.Sink }

func (p choosy) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	v, err := p.Sink.Write(ctx, d)
	v.Rejected = []connector.RowFault{{Row: 0, Reason: "not this one"}}
	return v, err
}

// lacks are the blocks of which a sink does not have all rows, as the job tells.
func (r *rig) lacks(sink string) (blocks map[uint64]bool) {
	blocks = map[uint64]bool{}
	var mu sync.Mutex
	r.cfg.OnLack = func(_ *store.Tx, name string, seqs []uint64) error {
		mu.Lock()
		defer mu.Unlock()
		for _, seq := range seqs {
			blocks[seq] = true
		}
		if name != sink {
			r.t.Errorf("sink %s lacks rows, want %s", name, sink)
		}
		return nil
	}
	return blocks
}

// TestLack: the owner of the configuration is told of each block whose rows a sink does not have all, because they were
// refused or have expired, and of no other.
func TestLack(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 5, Rate: -1, Backlog: 500, PageLimit: 200})
	blocks := r.lacks("main")
	r.run()
	if len(blocks) > 0 {
		t.Errorf("of a sink that has all: %v", blocks)
	}
	r = newRig(t, simulator.Options{Seed: 5, Rate: -1, Backlog: 500, PageLimit: 200})
	blocks = r.lacks("main")
	r.wrap = func(s connector.Sink) connector.Sink { return choosy{s} }
	r.run()
	if dead := r.books().Sinks[0].Dead; dead == 0 || len(blocks) != int(dead) {
		t.Errorf("%d blocks lack rows, want %d, each with a dead letter", len(blocks), dead)
	}
	r = quotaRig(t, "expire")
	blocks = r.lacks("main")
	r.wrap = func(s connector.Sink) connector.Sink { return &failing{s, fault.New(fault.Transient, "away")} }
	r.run()
	if expired := r.books().Sinks[0].Expired; expired == 0 || len(blocks) == 0 || int(expired) < len(blocks) {
		t.Errorf("%d blocks lack rows, and %d rows expired", len(blocks), expired)
	}
}
