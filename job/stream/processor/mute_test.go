package processor

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/collect"
)

// fullBroker is a broker that can have no room for what is published.
type fullBroker struct {
	connector.Broker
	full  atomic.Bool
	tried atomic.Int64 // messages that it refused
}

func (b *fullBroker) Publish(ctx context.Context, m connector.Message) error {
	if b.full.Load() {
		b.tried.Add(1)
		return fault.New(fault.Full, "OOM command not allowed")
	}
	return b.Broker.Publish(ctx, m)
}

// TestFullBroker: what a broker that has no room holds for us is done with; the gate says why nobody is told, one
// attempt is made a second, and when there is room the ingester is told where we are.
func TestFullBroker(t *testing.T) {
	b := &fullBroker{Broker: embedded(t)}
	r := newRig(t, b)
	n := newNotices(t, b.Broker, "i")
	r.store(observations(1, hour0, 50))
	r.store(observations(1, hour0.Add(time.Hour), 50))
	r.store(observations(1, hour0.Add(2*time.Hour), 50))
	r.run(func(job *collect.Job) {
		n.add(hour0, 50)
		until(t, "the first report is there", func() bool { return n.followed() == 1 })
		b.full.Store(true)
		n.add(hour0.Add(time.Hour), 50)
		n.add(hour0.Add(2*time.Hour), 50)
		until(t, "the other reports are there", func() bool { _, revisions := r.reports(); return len(revisions) == 3 })
		until(t, "the gate says why nobody is told", func() bool {
			g := gateOf(job, "broker")
			return !g.Open && g.Kind == "full" && g.Cause == "OOM command not allowed"
		})
		if followed := n.followed(); followed != 1 {
			t.Errorf("the ingester is told of %d reports through a full broker", followed)
		}
		// Where it is quiet there is one attempt a second.
		before, began := b.tried.Load(), time.Now()
		until(t, "it tries again", func() bool { return b.tried.Load() >= before+3 })
		if took := time.Since(began); took < 1900*time.Millisecond {
			t.Errorf("it tried three times within %v", took)
		}
		b.full.Store(false)
		back := time.Now()
		until(t, "the gate is open", func() bool { return gateOf(job, "broker").Open })
		if took := time.Since(back); took > 1900*time.Millisecond {
			t.Errorf("the gate opened %v after there was room", took)
		}
		until(t, "the ingester is told", func() bool { return n.followed() == 3 })
	})
	if got := len(r.events("gate.closed")); got != 1 {
		t.Errorf("the gate closed %d times, want once", got)
	}
}
