package ingester

import (
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
)

// TestFullBroker: what a broker that has no room holds for us is taken in and acknowledged, since that makes room; the
// gate says why nobody is told, one attempt is made a second, and when there is room everything is said.
func TestFullBroker(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		r.h.change(func() { r.h.durable, r.h.mute = true, nil })
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1), ids(7, 2)))
		time.Sleep(time.Second)
		l.wantStates(Stored)
		full := fault.New(fault.Full, "OOM command not allowed")
		r.h.change(func() { r.h.mute = full })
		time.Sleep(10 * time.Second)
		notices := r.h.channels(names.Stored())
		var acked int
		r.h.change(func() { acked = r.h.acked })
		// What the streamer got in before the broker was full.
		m := s.cut(8, ids(8, 3), ids(8, 4), ids(8, 5))
		r.h.change(func() { r.h.mute = nil })
		s.send(m)
		r.h.change(func() { r.h.mute, r.h.attempts = full, 0 })
		time.Sleep(time.Minute)
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4", "5")
		l.wantStates(Stored, Stored)
		r.h.change(func() {
			if n := r.h.acked - acked; n != 4 {
				t.Errorf("%d messages were acknowledged, want the manifest and three batches", n)
			}
			if r.h.attempts > 65 {
				t.Errorf("%d attempts in a minute", r.h.attempts)
			}
		})
		if g := l.job.Gates()[0]; g.Open || g.Kind != "full" || g.Cause != full.Error() {
			t.Errorf("gate: %+v", g)
		}
		notices.take()
		r.h.change(func() { r.h.mute = nil })
		time.Sleep(1200 * time.Millisecond)
		if g := l.job.Gates()[0]; !g.Open {
			t.Errorf("gate: %+v", g)
		}
		if got := notices.take(); len(got) == 0 {
			t.Error("nobody is told of the second window")
		}
		s.beacon(false)
		time.Sleep(time.Second)
		if c := s.has(); c.UpTo != 2 {
			t.Errorf("confirmed: %+v", c)
		}
		l.stop()
	})
}

// TestFullBrokerEnds: a hearing that ends while the broker has no room is begun anew.
func TestFullBrokerEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		full := fault.New(fault.Full, "OOM command not allowed")
		m := s.cut(7, ids(7, 1))
		time.Sleep(time.Second)
		r.h.change(func() { r.h.mute = full })
		time.Sleep(10 * time.Second)
		r.h.ends(errAway)
		time.Sleep(10 * time.Second)
		r.h.change(func() { r.h.mute = nil })
		s.send(m)
		r.h.change(func() { r.h.mute = full })
		time.Sleep(10 * time.Second)
		want(t, "the rows", r.sinks[0].holds(), "1")
		l.stop()
	})
}

// TestIdleStreamerIsTold: over a broker that keeps messages a streamer that has nothing to send is told now and then that
// it is heard, and one that is not heard is told nothing.
func TestIdleStreamerIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.h.change(func() { r.h.durable = true })
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1)))
		time.Sleep(time.Minute)
		confirms := listenFor[wire.Confirm](r.h)
		stop := s.hums()
		time.Sleep(time.Minute)
		stop()
		if n := len(confirms.take()); n < 5 || n > 10 {
			t.Errorf("it is told %d times in a minute", n)
		}
		time.Sleep(10 * time.Minute)
		if n := len(confirms.take()); n > 1 {
			t.Errorf("it is told %d times while it is silent", n)
		}
		l.stop()
	})
}
