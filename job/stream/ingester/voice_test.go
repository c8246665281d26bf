package ingester

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// TestSecondStreamer: while a streamer is heard, another is refused and a person told; nothing of it is taken in or
// confirmed. When the first has been silent for a while, the other is listened to, and stays so in the next life.
func TestSecondStreamer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b := newStation(r.h, "a"), newStation(r.h, "b")
		l := r.begin()
		stop := a.hums()
		defer func() { stop() }()
		time.Sleep(time.Second)
		both := b.hums()
		defer both()
		a.send(a.cut(7, ids(7, 1), ids(7, 2)), 0)
		b.send(b.cut(7, ids(7, 11), ids(7, 12)))
		time.Sleep(time.Minute)
		want(t, "the rows", r.sinks[0].holds(), "1", "2")
		if c := b.has(); c != (wire.Confirm{}) {
			t.Errorf("the second is told %+v", c)
		}
		l.wantStates(Stored)
		if got := r.events("stream.second"); len(got) != 1 || !strings.Contains(got[0], "refused: the station b, while "+
			"another is at work (the station a)") {
			t.Errorf("events: %q", got)
		}
		l.stop()
		l = r.begin() // the first one it was, and is
		time.Sleep(5 * time.Second)
		l.wantStates(Stored)
		stop()
		time.Sleep(5 * time.Second)
		l.wantStates(Stored)
		time.Sleep(20 * time.Second)
		l.wantStates(Stored, Stored)
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "11", "12")
		if got := r.events("stream.adopted"); !slices.Equal(got, []string{"another streamer is listened to now: the station b, " +
			"after epoch a"}) {
			t.Errorf("events: %q", got)
		}
		l.stop()
		stop = a.hums() // the first is back
		l = r.begin()
		a.send(a.cut(8, ids(8, 3)))
		time.Sleep(8 * time.Second)
		l.wantStates(Stored, Stored)
		l.stop()
	})
}

// TestMetInTheMiddle: of a streamer whose beacon was not heard, nothing is confirmed: it may have more than it was heard
// to have.
func TestMetInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		for hour := range 3 {
			s.cut(hour, ids(hour, 1+hour)) // nobody heard them
		}
		l := r.begin()
		s.send(s.cut(3, ids(3, 4)))
		time.Sleep(5 * time.Second)
		if c := s.has(); c != (wire.Confirm{}) {
			t.Errorf("confirmed: %+v", c)
		}
		s.beacon(false)
		time.Sleep(5 * time.Second)
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4")
		if c := s.has(); c.UpTo != 4 {
			t.Errorf("confirmed: %+v", c)
		}
		l.stop()
	})
}

// TestFormerEpoch: a streamer whose store was restored says of its former epoch what it has no more: those windows
// are not waited for, and the streamer is not taken for another.
func TestFormerEpoch(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a := newStation(r.h, "a")
		a.answers(false)
		l := r.begin()
		a.beacon(false)
		a.send(a.cut(7, ids(7, 1), ids(7, 2)), 0)
		time.Sleep(20 * time.Second)
		b := newStation(r.h, "b")
		r.h.tap(func(m connector.Message) {
			if what, err := wire.Read(m); err == nil {
				if ask, ok := what.(wire.Ask); ok && ask.Epoch == "a" {
					b.publish(wire.Gone{Epoch: "a", Number: ask.Number}.Message(names))
				}
			}
		})
		defer b.hums()()
		b.send(b.cut(8, ids(8, 3)))
		time.Sleep(30 * time.Second)
		l.wantStates(Stored, Stored)
		if v := l.views()[1]; v.MissingRows != 1 || v.Because != streamerLacks {
			t.Errorf("the window is %+v", v)
		}
		if got := r.events("stream.second"); len(got) > 0 {
			t.Errorf("events: %q", got)
		}
		l.stop()
	})
}

// TestSameBatches: the same payload belongs where it is missing: windows of two epochs with the same rows are both
// completed.
func TestSameBatches(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a := newStation(r.h, "a")
		a.answers(false)
		l := r.begin()
		a.beacon(false)
		a.send(a.cut(7, ids(7, 1), ids(7, 2)), 0)
		time.Sleep(20 * time.Second)
		b := newStation(r.h, "b")
		defer b.hums()()
		b.send(b.cut(7, ids(7, 1), ids(7, 2)))
		time.Sleep(30 * time.Second)
		l.wantStates(Stored, Stored)
		for _, v := range l.views() {
			if len(v.Missing) > 0 {
				t.Errorf("%s/%d lacks %v", v.Epoch, v.Number, v.Missing)
			}
		}
		l.stop()
	})
}

// TestDeadStreamerIsNotOld: a batch of a streamer of ours whose manifest was lost with it is not taken for one of a
// streamer of old, however long it is silent.
func TestDeadStreamerIsNotOld(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		m := s.cut(7, ids(7, 1), ids(7, 2))
		s.answers(false)
		s.publish(s.batch(m, 0)) // and it dies
		time.Sleep(10 * time.Minute)
		if n := len(l.views()); n > 0 {
			t.Errorf("%d windows", n)
		}
		s.answers(true)
		s.beacon(false)
		time.Sleep(time.Second)
		l.wantStates(Stored)
		want(t, "the rows", r.sinks[0].holds(), "1", "2")
		l.stop()
		if b := r.books(); b.Accepted != 2 {
			t.Errorf("books: %+v", b.Intake)
		}
	})
}

// TestBatchesBeforeTheirManifest: they wait for it.
func TestBatchesBeforeTheirManifest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		asks := listenFor[wire.Ask](r.h)
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		m := s.cut(7, ids(7, 1), ids(7, 2))
		s.publish(s.batch(m, 1))
		s.publish(s.batch(m, 0))
		time.Sleep(5 * time.Second)
		s.publish(m.Message(names))
		time.Sleep(time.Second)
		l.wantStates(Stored)
		if n := len(asks.take()); n > 0 {
			t.Errorf("%d questions", n)
		}
		l.stop()
	})
}

// TestHeldIsBounded: batches of nobody wait for a while, not too many, and are acknowledged then: a broker that keeps
// them gives nothing more while it waits for that.
func TestHeldIsBounded(t *testing.T) {
	h := newHeld()
	at := hour0
	for i := range 2 * mostHeld {
		dropped := h.put(string(rune(i)), connector.Heard{Message: connector.Message{Payload: []byte{}}}, at)
		if want := min(max(i+1-mostHeld, 0), 1); len(dropped) != want {
			t.Fatalf("%d were dropped at the %dth, want %d", len(dropped), i, want)
		}
	}
	large := connector.Heard{Message: connector.Message{Payload: make([]byte, mostHeldBytes)}}
	if dropped := h.put("large", large, at); len(dropped) != 1 || h.count != mostHeld {
		t.Errorf("%d were dropped for one that fits", len(dropped))
	}
	if dropped := h.put("large", large, at); len(dropped) != mostHeld || h.count != 1 || h.bytes != mostHeldBytes {
		t.Errorf("%d were dropped, %d of %d bytes are left", len(dropped), h.count, h.bytes)
	}
	if all := h.take("large"); len(all) != 1 || h.count != 0 || h.bytes != 0 {
		t.Errorf("%d were there, %d of %d bytes are left", len(all), h.count, h.bytes)
	}
	if _, ok := h.since(); ok {
		t.Error("there is more")
	}
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		l := r.begin()
		defer s.hums()()
		for i := range 20 {
			s.publish(connector.Message{Topic: names.Data(), Key: "0:7", Payload: ids(7, i)})
		}
		time.Sleep(5 * time.Second)
		r.h.change(func() { r.h.acked = 0 })
		time.Sleep(8 * time.Second)
		r.h.change(func() {
			if r.h.acked < 20 {
				t.Errorf("%d were acknowledged", r.h.acked)
			}
		})
		if n := len(l.views()); n > 0 {
			t.Errorf("%d windows", n)
		}
		l.stop()
	})
}

// TestHeldOverAnOutage: a batch without its manifest is taken for one of a streamer of old when it was heard in vain whether one
// of ours is there; the time without a broker does not count.
func TestHeldOverAnOutage(t *testing.T) {
	in := &Source{held: newHeld(), hearing: hour0}
	in.held.put("hash", connector.Heard{}, hour0.Add(time.Second))
	for _, hearing := range []time.Duration{0, 40 * time.Second} {
		in.hearing = hour0.Add(hearing)
		want := max(time.Second, hearing) + untilOld
		next, err := in.takeHeld(t.Context(), &page{}, hour0.Add(want-1))
		if got := next.Sub(hour0); got != want || err != nil {
			t.Errorf("heard since %v: taken after %v (%v), want %v", hearing, got, err, want)
		}
	}
}

// TestNewestAdopted: in the next life the streamer is listened to that was adopted last, whatever the clock says.
func TestNewestAdopted(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	for i, name := range []string{"a", "b", "c", "b"} {
		if _, err := n.book.beacon(wire.Beacon{Epoch: name, Oldest: 1}, n.now.Add(-time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		n.restart()
		if n.book.current != name {
			t.Errorf("epoch %s is listened to, want %s", n.book.current, name)
		}
	}
}
