package streamer

import (
	"testing"
	"time"
)

// TestRoomForBeaconsAlone: a broker that has room for a beacon and none for what waits is full, and its gate stays closed;
// it is tried once a second with what it refused. When there is room everything goes on.
func TestRoomForBeaconsAlone(t *testing.T) {
	pacedRig(t, hours(20, 0, 1, 2), func(t *testing.T, r *rig, h *hub, _ *listener) {
		r.cfg.Once = true
		h.room = 500
		_, ended := r.start()
		time.Sleep(time.Minute)
		h.mu.Lock()
		attempts := h.attempts
		h.room = 0
		h.mu.Unlock()
		if attempts < 55 || attempts > 62 {
			t.Errorf("%d attempts in a minute, want one a second", attempts)
		}
		back := time.Now()
		r.ends(ended)
		if took := time.Since(back); took > 5*time.Second {
			t.Errorf("it took %v when there was room", took)
		}
		if got := r.events("gate.closed"); len(got) != 1 {
			t.Errorf("the gate closed %d times: %q", len(got), got)
		}
	})
}

// TestAirOfFullBroker: what a broker had room for is not exceeded by more than a little, and by more again as time goes.
func TestAirOfFullBroker(t *testing.T) {
	a, now := newAir(1000), time.Unix(0, 0)
	for i := range 8 {
		if at := a.room(now, 100); at.After(now) {
			t.Fatalf("batch %d waits", i)
		}
		a.add(1, i, 100, now)
	}
	a.full(now)
	a.confirm(1, 0, 0, now)
	for i := range 4 {
		if at := a.room(now, 100); at.After(now) {
			t.Errorf("batch %d of the four that there is room for waits", i)
		}
		a.add(2, i, 100, now)
	}
	if at := a.room(now, 100); !at.After(now) {
		t.Error("there is no end behind half of what was too much")
	}
	later := now.Add(recovers)
	a.last = later
	if at := a.room(later, 100); at.After(later) {
		t.Error("the limit does not grow")
	}
	if got := a.limit(now.Add(time.Hour)); got != 1000 {
		t.Errorf("the limit is %d after an hour, want all", got)
	}
	a.bytes = 0
	a.full(later)
	if at := a.room(later, 100); at.After(later) {
		t.Error("not even one batch goes out")
	}
}

// TestBeaconsThatNobodyHears: a broker that keeps messages does not fill with beacons while nobody answers. From the first
// answer on they come as often as always.
func TestBeaconsThatNobodyHears(t *testing.T) {
	pacedRig(t, hours(2, 0), func(t *testing.T, r *rig, h *hub, l *listener) {
		h.durable, l.confirms = true, false
		stop, _ := r.start()
		l.beaconsIn(time.Hour)
		if n := l.beaconsIn(5 * time.Hour); n < 25 || n > 40 {
			t.Errorf("%d beacons in five hours that nobody heard, want one in ten minutes", n)
		}
		l.say(confirm(r.running().desk.epoch, 0))
		if n := l.beaconsIn(5 * time.Second); n < 9 {
			t.Errorf("%d beacons in 5 s when somebody has come", n)
		}
		stop()
	})
}
