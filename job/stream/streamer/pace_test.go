package streamer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// times returns when manifests came, from a moment on, in order.
func (l *listener) times(since time.Time) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, key := range l.order {
		if number, ok := strings.CutPrefix(key, "manifest:"); ok {
			out = append(out, fmt.Sprintf("%s at %v", number, l.at[i].Sub(since).Round(100*time.Millisecond)))
		}
	}
	return out
}

// paced runs f in a bubble, with a rig over a broker in memory.
func pacedRig(t *testing.T, rows []obs, f func(t *testing.T, r *rig, h *hub, l *listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		l := newListener(t, h)
		l.confirms = true
		defer l.listen(t.Context())()
		r := newRig(t, h, func() connector.Source { return feedOf(rows, 7) })
		r.soon = 5 * time.Hour
		f(t, r, h, l)
	})
}

func wantTimes(t *testing.T, l *listener, since time.Time, want ...string) {
	t.Helper()
	if got := l.times(since); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInterval(t *testing.T) {
	pacedRig(t, hours(3, 0, 1, 2, 5), func(t *testing.T, r *rig, _ *hub, l *listener) {
		r.cfg.Interval = 5 * time.Minute
		began := time.Now()
		r.once()
		wantTimes(t, l, began, "1 at 0s", "2 at 5m0s", "3 at 10m0s", "4 at 15m0s")
	})
}

// TestSpeedup: event time counts, that of empty hours too.
func TestSpeedup(t *testing.T) {
	pacedRig(t, hours(3, 0, 1, 2, 5), func(t *testing.T, r *rig, _ *hub, l *listener) {
		r.cfg.Speedup = 60
		began := time.Now()
		r.once()
		wantTimes(t, l, began, "1 at 0s", "2 at 1m0s", "3 at 2m0s", "4 at 5m0s")
	})
}

// TestPunctual: a window that goes a little late does not move those behind it; one that goes much too late does.
func TestPunctual(t *testing.T) {
	w := windowOf(2, 1)
	for late, moved := range map[time.Duration]time.Duration{0: 0, 200 * time.Millisecond: 0, 3 * time.Second: 3 * time.Second} {
		p := newPacer(Config{Interval: time.Minute}, paced{Released: 1, At: sometime}, sometime)
		due := p.due(w)
		p.let(w, due, due.Add(late))
		if next := p.due(windowOf(3, 1)); !next.Equal(sometime.Add(2*time.Minute + moved)) {
			t.Errorf("%v late: the next one is due at %v", late, next.Sub(sometime))
		}
	}
	p := newPacer(Config{Interval: time.Minute}, paced{Released: 1, At: sometime.Add(time.Hour)}, sometime)
	if due := p.due(w); due.After(sometime.Add(time.Minute)) {
		t.Errorf("with a clock that went back it is due at %v", due.Sub(sometime))
	}
}

// TestLateWindowsTakeNoTime: they go out with the window in front of them.
func TestLateWindowsTakeNoTime(t *testing.T) {
	rows := slices.Concat(hours(1, 0, 1), []obs{at(0, 1, "late")}, hours(1, 2))
	pacedRig(t, rows, func(t *testing.T, r *rig, _ *hub, l *listener) {
		r.cfg.Interval = time.Minute
		began := time.Now()
		r.once()
		wantTimes(t, l, began, "1 at 0s", "2 at 1m0s", "3 at 1m0s", "4 at 2m0s")
	})
}

// TestPositionInTimeSurvives: a restart neither hurries nor delays the next window; after a longer halt it
// goes on from there.
func TestPositionInTimeSurvives(t *testing.T) {
	pacedRig(t, hours(3, 0, 1, 2, 3, 4), func(t *testing.T, r *rig, _ *hub, l *listener) {
		r.cfg.Interval = 5 * time.Minute
		began := time.Now()
		stop, _ := r.start()
		time.Sleep(7 * time.Minute)
		stop()
		time.Sleep(time.Minute)
		stop, _ = r.start() // at 8m
		time.Sleep(4 * time.Minute)
		stop() // at 12m
		time.Sleep(28 * time.Minute)
		stop, _ = r.start() // at 40m
		time.Sleep(6 * time.Minute)
		stop()
		wantTimes(t, l, began, "1 at 0s", "2 at 5m0s", "3 at 10m0s", "4 at 40m0s", "5 at 45m0s")
	})
}

// TestBrokerAway: windows whose time comes meanwhile wait in the store, and leave in order within a second of
// its return. At most one attempt a second is made meanwhile, by listening and publishing together; the gate
// says why.
func TestBrokerAway(t *testing.T) {
	pacedRig(t, hours(2, 0, 1, 2, 3, 4, 5), func(t *testing.T, r *rig, h *hub, l *listener) {
		r.cfg.Interval, r.cfg.Batch, r.cfg.Once = time.Minute, 1, true
		began := time.Now()
		_, ended := r.start()
		time.Sleep(90 * time.Second) // two are out
		h.goes()
		time.Sleep(150 * time.Second)
		if s := r.running().Gates()[0]; s.Name != "broker" || s.Open || s.Cause != "connection refused" ||
			s.Kind != "outage" {
			t.Errorf("gate: %+v", s)
		}
		// Of six windows of two rows two are out, and the third could be since 2m: that is told as of every sink.
		k := r.kept()
		if k.Accepted != 12 || k.Delivered != 4 || k.Pending != 8 || k.PendingBytes <= 0 || !k.Oldest.Equal(began.Add(2*time.Minute)) ||
			k.Check() != "" {
			t.Errorf("the rows for the broker: %+v, since %v", k, k.Oldest.Sub(began))
		}
		attempts := h.comes() // at 4m
		if attempts < 100 || attempts > 151 {
			t.Errorf("%d attempts in 150 s", attempts)
		}
		time.Sleep(1100 * time.Millisecond)
		if s := r.running().Gates()[0]; !s.Open {
			t.Errorf("gate after a second: %+v", s)
		}
		r.ends(ended)
		if f := r.running().desk.figures().flow(); f.Delivered != 12 || f.Pending != 0 || !f.Oldest.IsZero() {
			t.Errorf("at the end: %+v", f)
		}
		got := l.times(began)
		if len(got) != 6 || !strings.HasPrefix(got[2], "3 at 4m") {
			t.Errorf("got %q", got)
		}
		var order []string
		for _, key := range l.heard() {
			order = append(order, strings.TrimPrefix(key, "manifest:"))
		}
		want := []string{"1", "0:0", "LAST:0", "2", "0:1", "LAST:1", "3", "0:2", "LAST:2", "4", "0:3", "LAST:3",
			"5", "0:4", "LAST:4", "6", "0:5", "LAST:5"}
		if !slices.Equal(order, want) { // the broker in memory keeps the order over topics
			t.Errorf("got %v, want %v", order, want)
		}
		if closed, opened := r.events("gate.closed"), r.events("gate.opened"); len(closed) != 1 || len(opened) != 1 ||
			closed[0] != "broker: connection refused" || opened[0] != "broker is back" {
			t.Errorf("events: %q, %q", closed, opened)
		}
	})
}

// TestBrokerThatTakesNothing: it listens, and refuses what is published. The hearing stays, and attempts are
// bounded too.
func TestBrokerThatTakesNothing(t *testing.T) {
	pacedRig(t, hours(2, 0), func(t *testing.T, r *rig, h *hub, l *listener) {
		r.cfg.Once = true
		h.full = true
		_, ended := r.start()
		time.Sleep(time.Minute)
		h.mu.Lock()
		attempts, ears := h.attempts, len(h.listens)
		h.full = false
		h.mu.Unlock()
		if attempts < 30 || attempts > 62 || ears != 2 {
			t.Errorf("%d attempts in a minute, %d hearings", attempts, ears)
		}
		r.ends(ended)
	})
}

// TestReadAhead: without a pace and with a broker that is away, a file waits; so few windows are cut.
func TestReadAhead(t *testing.T) {
	pacedRig(t, hours(7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), func(t *testing.T, r *rig, h *hub, l *listener) {
		h.goes()
		stop, _ := r.start()
		time.Sleep(time.Minute)
		cut := r.running().desk.figures().next - 1
		if cut != ahead {
			t.Errorf("%d windows were cut, want %d", cut, ahead)
		}
		h.comes()
		time.Sleep(time.Minute)
		if f := r.running().desk.figures(); f.marks.Confirmed != 10 || !f.over {
			t.Errorf("figures: %+v", f)
		}
		stop()
	})
}

// TestBeacons: on start, every two seconds, twice a second while something is not confirmed, and after each
// window.
func TestBeacons(t *testing.T) {
	pacedRig(t, hours(2, 0, 1), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.Interval = time.Minute
		stop, _ := r.start()
		if n := l.beaconsIn(10 * time.Second); n < 19 || n > 23 {
			t.Errorf("%d beacons in 10 s with a window unconfirmed", n)
		}
		epoch := r.running().desk.epoch
		if b := l.lastBeacon(); b.Epoch != epoch || b.Newest != 1 || b.Oldest != 1 || b.End ||
			!strings.HasSuffix(b.From, fmt.Sprintf(", process %d: test", os.Getpid())) {
			t.Errorf("beacon: %+v", b)
		}
		l.say(confirm(epoch, 1))
		if n := l.beaconsIn(10 * time.Second); n < 4 || n > 6 {
			t.Errorf("%d beacons in 10 s with all confirmed", n)
		}
		time.Sleep(time.Minute)
		l.say(confirm(epoch, 2))
		time.Sleep(3 * time.Second)
		if b := l.lastBeacon(); !b.End || b.Newest != 2 || b.Confirmed != 2 {
			t.Errorf("last beacon: %+v", b)
		}
		stop()
	})
}

// TestFarewell: a job that is to end stays until an ingester has heard that there is nothing more, through an outage too;
// one that is silent has ended.
func TestFarewell(t *testing.T) {
	for what, want := range map[string]time.Duration{"heard": 0, "lost at first": time.Minute, "silent": 10 * time.Second,
		"silent, and an outage": 45 * time.Second} {
		t.Run(what, func(t *testing.T) {
			pacedRig(t, hours(2, 0, 1), func(t *testing.T, r *rig, h *hub, l *listener) {
				began := time.Now()
				hears := strings.HasPrefix(what, "lost")
				h.lose = func(m connector.Message) bool {
					about, _ := wire.Read(m)
					if b, ok := about.(wire.Beacon); ok && b.End && hears && time.Since(began) < time.Minute {
						for e := range h.listens { // it is there, and asks for what it has not heard
							if e.group == "streamer" && b.Newest > 0 {
								e.came <- wire.Ask{Epoch: b.Epoch, Number: b.Newest}.Message(names)
							}
						}
						return true
					}
					c, ok := about.(wire.Confirm)
					return ok && c.End && strings.HasPrefix(what, "silent")
				}
				r.cfg.Once = true
				_, ended := r.start()
				if strings.HasSuffix(what, "outage") {
					time.Sleep(5 * time.Second)
					h.goes()
					time.Sleep(30 * time.Second)
					h.comes()
				}
				r.ends(ended)
				if took := time.Since(began); took < want || took > want+3*time.Second {
					t.Errorf("it ended after %v, want %v", took, want)
				}
			})
		})
	}
}

// TestNext: a person need not wait for a window.
func TestNext(t *testing.T) {
	pacedRig(t, hours(2, 0, 1), func(t *testing.T, r *rig, h *hub, l *listener) {
		r.cfg.Interval, r.cfg.Once = time.Hour, true
		began := time.Now()
		_, ended := r.start()
		time.Sleep(10 * time.Second)
		if _, err := r.running().Command(t.Context(), "next", nil); err != nil {
			t.Error(err)
		}
		r.ends(ended)
		wantTimes(t, l, began, "1 at 0s", "2 at 10s")
	})
}
