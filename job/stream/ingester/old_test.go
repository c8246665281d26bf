package ingester

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// veteran is a streamer of old: it sends an hour's batches, the last one as LAST, and answers a question under the number
// that the batch has, LAST too.
type veteran struct {
	h *hub

	mu     sync.Mutex // guards what is below
	hour   string
	loads  [][]byte
	asked  []string
	broken map[int]int // how often a batch comes spoilt yet
	deaf   bool
}

func newVeteran(h *hub) *veteran {
	v := &veteran{h: h, broken: map[int]int{}}
	h.tap(func(m connector.Message) {
		if m.Topic != names.Request() {
			return
		}
		if batch, answers := v.answer(m); answers {
			v.say(fmt.Sprint(batch), batch)
		}
	})
	return v
}

func (v *veteran) answer(m connector.Message) (batch int, answers bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, m.Key)
	p, err := wire.ParsePlace(m.Key)
	if p.Last {
		p.Batch = len(v.loads) - 1
	}
	return p.Batch, err == nil && p.Window == v.hour && string(m.Payload) == v.hour && !v.deaf && p.Batch < len(v.loads)
}

// questions are those that it was asked about this hour.
func (v *veteran) questions() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.asked)
}

func (v *veteran) say(batch string, i int) {
	v.mu.Lock()
	load := v.loads[i]
	if v.broken[i] > 0 {
		v.broken[i]--
		load = load[:len(load)/2]
	}
	v.mu.Unlock()
	m := connector.Message{Topic: names.Data(), Key: batch + ":" + v.hour, Payload: load}
	_ = v.h.Publish(context.Background(), m)
}

// begins an hour with so many batches of one row each, numbered from first on.
func (v *veteran) begins(hour, batches, first int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hour, v.loads, v.asked = fmt.Sprint(hour%24), nil, nil
	for i := range batches {
		v.loads = append(v.loads, ids(hour, first+i))
	}
}

// sends these batches of the hour, the last one as LAST.
func (v *veteran) sends(batches ...int) {
	for _, i := range batches {
		if i == len(v.loads)-1 {
			v.say(wire.LAST, i)
		} else {
			v.say(fmt.Sprint(i), i)
		}
	}
}

// wantOld compares the windows: their day and hour, state, batches, and those missing.
func (l *life) wantOld(want ...string) {
	l.t.Helper()
	var got []string
	for _, v := range l.views() {
		got = append(got, fmt.Sprintf("%s (%s) %s %d %v", v.From.Format("02T15"), v.Window, v.State, v.Batches, v.Missing))
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("windows are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOldStreamer runs through what a streamer of old may do, with its number of batches known and not.
func TestOldStreamer(t *testing.T) {
	for _, known := range []int{0, 6} {
		t.Run(fmt.Sprint(known), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.cfg.OldBatches = known
				v, notices := newVeteran(r.h), listenFor[wire.Stored](r.h)
				l := r.begin()

				v.begins(7, 6, 1) // all comes
				v.sends(0, 1, 2, 3, 4, 5)
				time.Sleep(time.Second)
				l.wantOld() // it may be of ours
				time.Sleep(untilOld + time.Second)
				l.wantOld("19T07 (7) stored 6 []")
				want(t, "questions", v.questions())
				if all := notices.take(); len(all) != 1 || all[0].Sure || all[0].Rows != 6 {
					t.Errorf("notices: %+v", all)
				}

				v.begins(8, 6, 11) // some in the middle is lost: asked for once something behind it came
				v.sends(0, 3)
				time.Sleep(time.Second)
				want(t, "questions", v.questions(), "1:8", "2:8")
				v.sends(4, 5)
				time.Sleep(time.Second)
				l.wantOld("19T08 (8) stored 6 []", "19T07 (7) stored 6 []")
				want(t, "questions", v.questions(), "1:8", "2:8")

				v.begins(9, 6, 21) // LAST is lost: asked for after some silence
				v.sends(0, 1, 2, 3, 4)
				time.Sleep(9 * time.Second)
				want(t, "questions", v.questions())
				time.Sleep(3 * time.Second)
				if known > 0 {
					want(t, "questions", v.questions(), "LAST:9")
				} else { // what comes under a number may be one of others, until it comes once more
					want(t, "questions", v.questions(), "LAST:9", "LAST:9")
				}
				if all := l.views(); all[0].State != Stored || all[0].Rows != 6 || all[0].Batches != 6 {
					t.Errorf("the window is %+v", all[0])
				}

				v.begins(10, 6, 31) // the end of an hour is lost, and the next one begins
				v.sends(0, 1, 2)
				time.Sleep(time.Second)
				ten := v.loads
				v.begins(11, 6, 41)
				v.sends(0, 1)
				time.Sleep(time.Second)
				v.mu.Lock()
				v.hour, v.loads = "10", ten // it still has it
				v.mu.Unlock()
				time.Sleep(12 * time.Second)
				if known > 0 {
					want(t, "questions", slices.Compact(slices.Sorted(slices.Values(v.questions()))), "2:11", "3:10", "3:11",
						"4:10", "4:11", "LAST:10", "LAST:11")
				}
				l.stop()
				r.books()
			})
		})
	}
}

// TestOldLearns: of a window of which nobody knows how many batches it has, those behind what is known come when LAST
// is answered: nothing is complete before.
func TestOldLearns(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		v := newVeteran(r.h)
		l := r.begin()
		v.begins(7, 6, 1)
		v.sends(0, 1, 2) // all others are lost
		time.Sleep(30 * time.Second)
		l.wantOld("19T07 (7) stored 6 []")
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4", "5", "6")
		l.stop()
	})
}

// TestOldReordered: LAST comes in front of others, also within one page, and makes nothing complete that is not; what
// comes behind a window that seemed complete is taken in, and told.
func TestOldReordered(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		v, notices := newVeteran(r.h), listenFor[wire.Stored](r.h)
		l := r.begin()
		v.begins(7, 6, 1)
		v.sends(5, 0, 4, 1, 2, 3)
		time.Sleep(untilOld + time.Second)
		l.wantOld("19T07 (7) stored 6 []")
		want(t, "questions", v.questions())
		notices.take()
		v.begins(8, 6, 11)
		v.sends(0, 1, 2, 5) // as if it had four
		time.Sleep(5 * time.Second)
		l.wantOld("19T08 (8) stored 4 []", "19T07 (7) stored 6 []")
		v.sends(4)
		time.Sleep(5 * time.Second)
		l.wantOld("19T08 (8) stored 6 []", "19T07 (7) stored 6 []")
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4", "5", "6", "11", "12", "13", "14", "15", "16")
		want(t, "notices", briefs(notices.take()), "2: 8, 4 rows, 0 lost, shared false, again 0",
			"3: 8, 6 rows, 0 lost, shared false, again 1")
		l.stop()
	})
}

// TestOldRepeats: what comes again is taken once, and the same hour of another day is another window. A batch that says
// something else than before is taken in too.
func TestOldRepeats(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.OldBatches = 3
		v, notices := newVeteran(r.h), listenFor[wire.Stored](r.h)
		l := r.begin()
		v.begins(7, 3, 1)
		v.sends(0, 0, 1, 2, 1, 2)
		time.Sleep(5 * time.Second)
		v.sends(0, 1, 2)
		time.Sleep(time.Second)
		v.begins(7+24, 3, 11)
		v.sends(0, 1, 2)
		time.Sleep(5 * time.Second)
		l.wantOld("20T07 (7) stored 3 []", "19T07 (7) stored 3 []")
		want(t, "notices", briefs(notices.take()), "1: 7, 3 rows, 0 lost, shared false, again 0",
			"2: 7, 3 rows, 0 lost, shared false, again 0")
		v.loads[1] = ids(7+24, 20, 21)
		v.sends(0, 1, 2)
		time.Sleep(time.Second)
		want(t, "notices", briefs(notices.take()), "3: 7, 4 rows, 0 lost, shared false, again 1")
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "11", "12", "13", "20", "21")
		l.stop()
		if b := r.books(); b.Accepted != 8 {
			t.Errorf("books: %+v", b.Intake)
		}
	})
}

// TestOldSpoilt: a batch that can't be read is asked for again, and if it stays so, is a dead letter, and holds up nobody.
func TestOldSpoilt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.OldBatches = 4
		v := newVeteran(r.h)
		l := r.begin()
		v.begins(7, 4, 1)
		v.broken[1], v.broken[3] = 1, 1000
		v.sends(0, 1, 2, 3)
		time.Sleep(30 * time.Second)
		l.wantOld("19T07 (7) stored 4 []")
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3")
		want(t, "questions", v.questions(), "1:7", "LAST:7", "LAST:7", "LAST:7")
		l.stop()
		if b := r.books(); b.Rejected != 1 || b.Accepted != 3 {
			t.Errorf("books: %+v", b.Intake)
		}
	})
}

// TestOldSpoiltAddress: a channel that names an absurd batch makes nothing.
func TestOldSpoiltAddress(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.begin()
		for _, key := range []string{"10000:7", "999999:7", "x:7", "1:2:3"} {
			if m := (connector.Message{Topic: names.Data(), Key: key, Payload: ids(7, 1)}); m.Check() == nil {
				_ = r.h.Publish(t.Context(), m)
			}
		}
		time.Sleep(5 * time.Second)
		if n := len(l.views()); n > 0 {
			t.Errorf("%d windows", n)
		}
		l.stop()
	})
}

// TestOldLost: a window of which the rest never comes is lost by policy; how many rows it lacks is guessed.
func TestOldLost(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.OldBatches, r.cfg.LostAfter = 4, time.Minute
		v, notices := newVeteran(r.h), listenFor[wire.Stored](r.h)
		v.deaf = true
		l := r.begin()
		v.begins(7, 4, 1)
		v.sends(0, 1, 3)
		time.Sleep(2 * time.Minute)
		l.wantOld("19T07 (7) stored 4 [2]")
		want(t, "notices", briefs(notices.take()), "1: 7, 3 rows, 1 lost, shared false, again 0")
		l.stop()
		if b := r.books(); b.GapSums.Lost != 1 {
			t.Errorf("books: %+v", b.GapSums)
		}
		l = r.begin()
		v.sends(2)
		time.Sleep(35 * time.Second)
		l.wantOld("19T07 (7) stored 4 []")
		l.stop()
		if b := r.books(); b.GapSums.Lost != 0 || b.GapSums.Filled != 1 {
			t.Errorf("books: %+v", b.GapSums)
		}
	})
}

// TestOldBehindOurs: a streamer of old that takes the place of one of ours is listened to once that is forgotten, and
// what it sent meanwhile is not lost. One of ours that comes back is listened to again.
func TestOldBehindOurs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.OldBatches = 3
		s, v := newStation(r.h, "e"), newVeteran(r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(6, ids(6, 100)))
		time.Sleep(12 * time.Second)
		v.begins(7, 3, 1)
		v.sends(0, 1, 2)
		time.Sleep(10 * time.Second)
		l.wantStates(Stored)
		time.Sleep(10 * time.Second)
		l.wantOld("19T07 (7) stored 3 []", "19T06 (6) stored 1 []")
		want(t, "questions", v.questions())
		s.send(s.cut(8, ids(8, 200)))
		time.Sleep(time.Second)
		l.wantOld("19T08 (8) stored 1 []", "19T07 (7) stored 3 []", "19T06 (6) stored 1 []")
		l.stop()
	})
}

// TestOldCrash: what was in the spool when the ingester died is known, and the rest is asked for.
func TestOldCrash(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		v := newVeteran(r.h)
		l := r.begin()
		v.begins(7, 5, 1)
		v.sends(0, 2)
		time.Sleep(untilOld + 100*time.Millisecond)
		l.wantOld("19T07 (7) open 4 [3]")
		l.stop()
		v.sends(3, 4)
		l = r.begin()
		time.Sleep(20 * time.Second)
		l.wantOld("19T07 (7) stored 5 []")
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4", "5")
		l.stop()
	})
}
