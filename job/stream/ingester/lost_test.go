package ingester

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/job/stream/wire"
)

// TestLost: what nobody can send any more is lost, in the books too, and what came is stored and told. When a batch
// comes after all, it is taken back: the books, the window, and the processor, who gets another notice.
func TestLost(t *testing.T) {
	for name, loses := range map[string]func(s *station){
		"refused": func(s *station) {
			s.forgets(2)
			s.answers(true) // it answers
		},
		"a beacon": func(s *station) {
			s.forgets(2)
			s.beacon(false)
		},
		"overdue": func(*station) { time.Sleep(10 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
				if s.answers(false); name == "overdue" {
					r.cfg.LostAfter = 8 * time.Minute
				}
				l := r.begin()
				s.beacon(false)
				m := s.cut(7, ids(7, 1, 2), ids(7, 3, 4, 5), ids(7, 6))
				s.send(m, 0)
				time.Sleep(time.Second)
				l.wantStates(Open)
				if c := s.has(); c.UpTo != 0 || c.Batches != 1 {
					t.Errorf("confirmed: %+v", c)
				}
				loses(s)
				time.Sleep(15 * time.Second)
				l.wantStates(Stored)
				want(t, "notices", briefs(notices.take()), "1: 7, 2 rows, 4 lost, shared false, again 0")
				v := l.views()[0]
				if want(t, "missing", v.Missing, 1, 2); v.Because == "" || v.MissingRows != 4 || v.Rows != 2 {
					t.Errorf("the window is %+v", v)
				}
				s.beacon(false)
				time.Sleep(time.Second)
				if c := s.has(); c.UpTo != 1 {
					t.Errorf("confirmed: %+v: who waits for more waits for ever", c)
				}
				l.stop()
				if b := r.books(); b.GapSums.Lost != 4 || b.GapSums.Open != 0 || b.Accepted != 2 {
					t.Errorf("books: %+v %+v", b.Intake, b.GapSums)
				}
				if got := r.events("window.lost"); len(got) != 1 || !strings.Contains(got[0],
					"window 2023-09-19 07:00 (7) lacks batches 1-2, 4 rows") {
					t.Errorf("events: %q", got)
				}

				l = r.begin()
				s.publish(s.batch(m, 1)) // it was under way for long
				time.Sleep(time.Second)
				l.wantStates(Stored)
				want(t, "notices", briefs(notices.take()), "2: 7, 5 rows, 1 lost, shared false, again 1")
				s.publish(s.batch(m, 2))
				time.Sleep(time.Second)
				want(t, "notices", briefs(notices.take()), "3: 7, 6 rows, 0 lost, shared false, again 2")
				if v := l.views()[0]; v.Because != "" || len(v.Missing) > 0 || v.Notices != 3 {
					t.Errorf("the window is %+v", v)
				}
				l.stop()
				if b := r.books(); b.GapSums.Lost != 0 || b.GapSums.Filled != 4 || b.Accepted != 6 {
					t.Errorf("books: %+v %+v", b.Intake, b.GapSums)
				}
			})
		})
	}
}

// TestLostUnknown: a window of which nothing is known but its number holds up nobody when it is gone. Its manifest takes
// that back.
func TestLostUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		s.answers(false)
		l := r.begin()
		s.beacon(false)
		m := s.cut(7, ids(7, 1))
		s.send(s.cut(8, ids(8, 2)))
		time.Sleep(time.Second)
		l.wantStates(Open, Stored) // what is not known comes first
		if v := l.views()[0]; v.Number != 1 || v.Because != "its manifest has not come" || !v.From.IsZero() {
			t.Errorf("the window is %+v", v)
		}
		s.forgets(2)
		s.beacon(false)
		time.Sleep(time.Second)
		l.wantStates(Lost, Stored)
		if c := s.has(); c.UpTo != 2 {
			t.Errorf("confirmed: %+v", c)
		}
		s.send(m)
		time.Sleep(time.Second)
		l.wantStates(Stored, Stored)
		want(t, "the rows", r.sinks[0].holds(), "1", "2")
		l.stop()
		if got := r.events("window.lost"); !slices.Equal(got, []string{"window e/1 is lost, and nobody knows what is in it: " +
			streamerLacks}) {
			t.Errorf("events: %q", got)
		}
	})
}

// TestOutageIsNotSilence: while the broker, or the ingester, is away, no window becomes overdue.
func TestOutageIsNotSilence(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.LostAfter = time.Minute
		s := newStation(r.h, "e")
		s.answers(false)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1), ids(7, 2)), 0)
		time.Sleep(30 * time.Second)
		r.h.goes()
		time.Sleep(2 * time.Minute)
		r.h.comes()
		time.Sleep(30 * time.Second)
		l.wantStates(Open)
		l.stop()
		time.Sleep(time.Hour)
		l = r.begin()
		time.Sleep(30 * time.Second)
		l.wantStates(Open)
		time.Sleep(time.Minute)
		l.wantStates(Stored)
		l.stop()
	})
}

// TestLateIsCounted: what a window of the same time lacks for good counts in the notice of each.
func TestLateIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		s.answers(false)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1), ids(7, 2, 3)), 0)
		time.Sleep(time.Second)
		s.forgets(2)
		s.beacon(false)
		time.Sleep(time.Second)
		s.send(s.cut(7, ids(7, 4)))
		time.Sleep(time.Second)
		want(t, "notices", briefs(notices.take()), "1: 7, 1 rows, 2 lost, shared false, again 0",
			"2: 7, 1 rows, 2 lost, shared true, again 1")
		l.stop()
	})
}

func TestSpans(t *testing.T) {
	for want, of := range map[string][]int{"no batch": nil, "batch 3": {3}, "batches 0-2, 7": {0, 1, 2, 7},
		"batches 1, 3": {1, 3}} {
		if got := spans(of); got != want {
			t.Errorf("%v: got %q, want %q", of, got, want)
		}
	}
}
