package ingester

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// TestFailedPageIsAskedForAgain: a page that can't be made leaves its batches missing, not on their way for ever.
func TestFailedPageIsAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var broken atomic.Bool
		parse := parser(r.table)
		r.cfg.Parse = func(ctx context.Context, payloads [][]byte) (connector.Page, error) {
			if broken.Load() {
				return connector.Page{}, errors.New("no memory")
			}
			return parse(ctx, payloads)
		}
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		broken.Store(true)
		s.send(s.cut(7, ids(7, 1), ids(7, 2)))
		time.Sleep(5 * time.Second)
		l.wantStates(Open)
		broken.Store(false)
		time.Sleep(2 * time.Second)
		l.wantStates(Stored)
		l.stop()
	})
}

// TestFullDisk: a commit that finds no room is tried again, and nothing of it is known before it is kept: neither
// windows, nor notices, nor what is confirmed.
func TestFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var full atomic.Bool
		r.admit = func(int) error {
			if full.Load() {
				return fault.New(fault.Full, "no room")
			}
			return nil
		}
		s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
		open := r.sinks[0].shut()
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1), ids(7, 2)))
		time.Sleep(time.Second)
		full.Store(true)
		open() // the sink has it, and it can't be written down
		time.Sleep(5 * time.Second)
		l.wantStates(Complete)
		want(t, "notices", briefs(notices.take()))
		for _, x := range told.take() {
			if x.Newest > 0 {
				t.Errorf("notice %d is told, and there is none", x.Newest)
			}
		}
		s.send(s.cut(8, ids(8, 3))) // its manifest is not kept
		s.send(s.cut(9, ids(9, 4)))
		s.beacon(false)
		time.Sleep(5 * time.Second)
		if c := s.has(); c.UpTo != 1 {
			t.Errorf("confirmed: %+v", c)
		}
		full.Store(false)
		time.Sleep(5 * time.Second)
		s.beacon(false)
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored, Stored)
		want(t, "notices", briefs(notices.take()), "1: 7, 2 rows, 0 lost, shared false, again 0", "2: 8, 1 rows, 0 lost, shared false, again 0",
			"3: 9, 1 rows, 0 lost, shared false, again 0")
		l.stop()
		l = r.begin()
		l.wantStates(Stored, Stored, Stored)
		l.stop()
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4")
		if b := r.books(); b.Accepted != 4 {
			t.Errorf("books: %+v", b.Intake)
		}
	})
}

// TestNoise: messages that are of no use, however many, hold up no page.
func TestNoise(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b := newStation(r.h, "a"), newStation(r.h, "b")
		l := r.begin()
		a.beacon(false)
		ctx, cancel := context.WithCancel(t.Context())
		var noise sync.WaitGroup
		noise.Go(func() {
			for ctx.Err() == nil {
				b.beacon(false)
				time.Sleep(5 * time.Millisecond)
			}
		})
		a.send(a.cut(7, ids(7, 1)))
		time.Sleep(time.Second)
		rows := r.sinks[0].holds()
		cancel()
		noise.Wait()
		want(t, "the rows", rows, "1")
		l.stop()
	})
}

// TestEndOfHearing: what was heard before a hearing ended is taken in; one that ends without a reason is an outage.
func TestEndOfHearing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.Linger = time.Hour
		s, asks := newStation(r.h, "e"), listenFor[wire.Ask](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1), ids(7, 2)))
		time.Sleep(time.Second)
		l.wantStates(Open)
		r.h.ends(nil)
		time.Sleep(100 * time.Millisecond)
		l.wantStates(Stored)
		if n := len(asks.take()); n > 0 {
			t.Errorf("%d questions", n)
		}
		time.Sleep(3 * time.Second)
		l.stop()
		want(t, "events", r.events("gate.closed"), "broker: the broker ended the hearing")
	})
}

// TestPageIsBounded: a page takes no more than so many rows and bytes, but for its last batch.
func TestPageIsBounded(t *testing.T) {
	p := new(page)
	for range 3 {
		if !p.room() {
			t.Fatal("there is no room")
		}
		p.add(batch{rows: rowsOfPage/2 - 1}, connector.Heard{})
	}
	if p.room() {
		t.Error("there is room for more rows")
	}
	p = new(page)
	p.add(batch{}, connector.Heard{Message: connector.Message{Payload: make([]byte, bytesOfPage)}})
	if p.room() {
		t.Error("there is room for more bytes")
	}
}

// TestManyQuestions: some windows are asked for at once, and some batches of each; the oldest first. All get their turn,
// also behind those that are never answered.
func TestManyQuestions(t *testing.T) {
	n := newNetwork(t, 1)
	if _, err := n.book.beacon(wire.Beacon{Epoch: "e", Oldest: 1, Newest: 100}, n.now); err != nil {
		t.Fatal(err)
	}
	asked := map[uint64]bool{}
	for range 7 {
		asks, _ := n.book.asks(n.now, false)
		if len(asks) > mostAsked {
			t.Fatalf("%d questions at once", len(asks))
		}
		for _, a := range asks {
			asked[a.Number] = true
		}
	}
	if len(asked) != 100 {
		t.Errorf("%d windows were asked for", len(asked))
	}
	if asks, next := n.book.asks(n.now, false); len(asks) > 0 || !next.After(n.now) {
		t.Errorf("%d questions more, and again at %v", len(asks), next)
	}
	m := wire.Manifest{Epoch: "e", Number: 1, Window: "0", From: hour0, To: hour0.Add(time.Hour)}
	for i := range 2500 {
		m.Batches = append(m.Batches, wire.Batch{Rows: 1, Hash: wire.Hash(fmt.Append(nil, i))})
	}
	if err := n.book.manifest(m, n.now); err != nil {
		t.Fatal(err)
	}
	n.book.heard(n.now)
	asks, _ := n.book.asks(n.now, false)
	if asks[0].Number != 1 || len(asks[0].Batches) != mostBatches || asks[0].Batches[0] != 0 {
		t.Errorf("asked for %d batches of window %d", len(asks[0].Batches), asks[0].Number)
	}
}

// TestManyWindows: what is in memory is bounded. What a streamer has behind that is not known, and not confirmed, until
// something is done.
func TestManyWindows(t *testing.T) {
	n := newNetwork(t, 1)
	all := wire.Beacon{Epoch: "e", Oldest: 1, Newest: mostNear + 1000}
	for range 2 {
		if _, err := n.book.beacon(all, n.now); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.book.near) != mostNear || n.book.epochs["e"].Known != mostNear || n.book.news(all) {
		t.Fatalf("%d windows are in memory, %d are known", len(n.book.near), n.book.epochs["e"].Known)
	}
	if err := n.book.manifest(wire.Manifest{Epoch: "e", Number: mostNear + 5, Window: "0", From: hour0,
		To: hour0.Add(time.Hour)}, n.now); err != nil || len(n.book.near) != mostNear {
		t.Fatalf("%d windows, %v", len(n.book.near), err)
	}
	all.Oldest = 501 // so many are gone
	for range 2 {
		if _, err := n.book.beacon(all, n.now); err != nil {
			t.Fatal(err)
		}
	}
	if e := n.book.epochs["e"]; e.Known != mostNear+500 {
		t.Errorf("%d windows are known", e.Known)
	}
	if c := n.book.confirmed("e"); c.UpTo != 500 {
		t.Errorf("confirmed: %+v", c)
	}
}

// TestOnceOnTheWay: a batch that is on its way into the spool is not taken a second time, neither by its own window nor
// because the commit is tried again.
func TestOnceOnTheWay(t *testing.T) {
	n := newNetwork(t, 1)
	n.met()
	n.bad = false
	n.window(1)
	n.flight = nil
	if err := n.book.manifest(n.all[1], n.now); err != nil {
		t.Fatal(err)
	}
	hash := n.all[1].Batches[0].Hash
	x, missing, _ := n.book.find(hash, n.now)
	if !missing {
		t.Fatal("it is not missing")
	}
	again := func(when string) {
		t.Helper()
		if _, missing, known := n.book.find(hash, n.now); missing || !known {
			t.Errorf("%s: missing %v, known %v", when, missing, known)
		}
	}
	again("before the commit")
	n.page = []batch{x}
	n.bad, n.rng = true, seeded(1) // it fails some times
	n.commit()
	again("behind the commit")
	n.restart()
	again("in the next life")
}

// TestOnce: the source ends when its streamer is at its end, everything is stored, and a processor has every notice;
// both hear of it.
func TestOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.Once = true
		s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
		l := r.begin()
		s.beacon(false)
		m := s.cut(7, ids(7, 1), ids(7, 2))
		s.answers(false)
		s.send(m, 0)
		s.beacon(true)
		time.Sleep(time.Minute)
		if told.take(); len(l.ended) > 0 {
			t.Fatal("it ended before all came")
		}
		s.send(m, 1)
		time.Sleep(time.Minute)
		if len(l.ended) > 0 {
			t.Fatal("it ended before a processor had the notice")
		}
		if all := told.take(); !all[len(all)-1].End {
			t.Errorf("told: %+v", all[len(all)-1])
		}
		epoch := notices.take()[0].Epoch
		r.follow(epoch, 1)
		if len(l.ended) > 0 {
			t.Fatal("it ended before the processor had done with the notice")
		}
		s.beacon(true)
		r.follow(epoch, 2)
		time.Sleep(time.Second)
		if len(l.ended) != 1 {
			t.Fatal("it did not end")
		}
		if all := told.take(); len(all) < farewells || !all[len(all)-1].End {
			t.Errorf("told: %+v", all)
		}
		l.stop()
	})
}

// TestEndIsConfirmed: a streamer that is at its end is told that this was heard, as often as it says so.
func TestEndIsConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, confirms := newStation(r.h, "e"), listenFor[wire.Confirm](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1)))
		time.Sleep(time.Second)
		if s.beacon(false); s.has() != (wire.Confirm{Epoch: "e", UpTo: 1}) {
			t.Errorf("confirmed: %+v", s.has())
		}
		confirms.take()
		for range 3 {
			s.beacon(true)
			time.Sleep(100 * time.Millisecond)
			if all := confirms.take(); len(all) == 0 || all[len(all)-1] != (wire.Confirm{Epoch: "e", UpTo: 1, End: true}) {
				t.Errorf("confirmed: %+v", all)
			}
		}
		s.cut(8, ids(8, 2)) // it goes on
		s.beacon(false)
		time.Sleep(time.Second)
		if s.has() != (wire.Confirm{Epoch: "e", UpTo: 2}) {
			t.Errorf("confirmed: %+v", s.has())
		}
		l.stop()
	})
}

// TestUnheardEnd: a person is told if a silent streamer has not said that it is at its end, while nothing else is waited for.
func TestUnheardEnd(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cfg.Once = true
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1)))
		time.Sleep(untilOther - 3*time.Second)
		r.follow(notices.take()[0].Epoch, 2)
		waits := func() bool { return slices.Contains(l.Notes(), [2]string{"waits", unended}) }
		s.beacon(false)
		if time.Sleep(untilOther - time.Second); waits() {
			t.Error("it is told while the streamer is heard")
		}
		if time.Sleep(2 * time.Second); !waits() {
			t.Errorf("it is not told: %q", l.Notes())
		}
		time.Sleep(time.Hour)
		s.beacon(false)
		if time.Sleep(time.Second); waits() {
			t.Error("it is told while the streamer is heard")
		}
		s.beacon(true)
		if time.Sleep(5 * time.Second); len(l.ended) != 1 {
			t.Error("it did not end")
		}
		l.stop()
		want(t, "events", r.events("stream.unended"), "all that came is stored, and "+unended)
	})
}

// TestOnceAgain: in a further life of an ingester that had done everything it ends as well: its streamer may have
// said so, and ended, before anybody listened. One that has more is waited for.
func TestOnceAgain(t *testing.T) {
	for _, more := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
			l := r.begin()
			s.beacon(false)
			s.send(s.cut(7, ids(7, 1)))
			s.beacon(true)
			time.Sleep(time.Second)
			r.follow(notices.take()[0].Epoch, 2)
			l.stop()
			r.cfg.Once = true
			l = r.begin()
			if more {
				s.cut(8, ids(8, 2))
				s.beacon(false)
			}
			time.Sleep(20 * time.Second)
			if ended := len(l.ended) == 1; ended == more {
				t.Errorf("a streamer that has more: %v; it ended: %v", more, ended)
			}
			l.stop()
		})
	}
}

// TestEndOfAFormerLife: that a streamer was at its end in a former life is told once it is silent for long, or says so
// again. One that comes with more is waited for.
func TestEndOfAFormerLife(t *testing.T) {
	for name, c := range map[string]struct {
		comes    func(s *station) // two seconds behind the start
		now, end bool             // it is told then, and behind untilOther
	}{
		"it is away":     {func(*station) {}, false, true},
		"it says it":     {func(s *station) { s.beacon(true) }, true, true},
		"it has more":    {func(s *station) { s.beacon(false); s.cut(8, ids(8, 2)) }, false, false},
		"it is not done": {func(s *station) { s.cut(8, ids(8, 2)); s.answers(false); s.beacon(true) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
				l := r.begin()
				s.beacon(false)
				s.send(s.cut(7, ids(7, 1)))
				s.beacon(true)
				time.Sleep(time.Second)
				epoch := notices.take()[0].Epoch
				r.follow(epoch, 2)
				l.stop()
				told.take()
				l = r.begin()
				defer l.stop()
				check := func(when string, want bool) {
					t.Helper()
					r.follow(epoch, 2) // which is answered
					time.Sleep(100 * time.Millisecond)
					all := told.take()
					if len(all) == 0 || all[len(all)-1].End != want {
						t.Errorf("%s: told %+v, want the end: %v", when, all, want)
					}
				}
				check("at the start", false)
				time.Sleep(time.Second)
				c.comes(s)
				time.Sleep(time.Second)
				check("when it has come", c.now)
				stop := func() {}
				if name == "it has more" {
					stop = s.hums()
				}
				time.Sleep(untilOther)
				check("later", c.end)
				stop()
			})
		})
	}
}

// TestEndThatWasKept: a broker that keeps messages gives a former life's last beacon at the start. The streamer is at its
// end when it says so later, or when what it says is news.
func TestEndThatWasKept(t *testing.T) {
	for _, news := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			r.h.durable = true
			s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
			l := r.begin()
			s.beacon(false)
			s.send(s.cut(7, ids(7, 1)))
			s.beacon(true)
			time.Sleep(time.Second)
			epoch := notices.take()[0].Epoch
			r.follow(epoch, 2)
			l.stop()
			l = r.begin()
			defer l.stop()
			ends := func(when string, want bool) {
				t.Helper()
				told.take()
				r.follow(epoch, 2)
				if all := told.take(); len(all) == 0 || all[len(all)-1].End != want {
					t.Errorf("%s: told %+v, want the end: %v", when, all, want)
				}
			}
			s.beacon(true)
			ends("at the start", false)
			if news {
				s.send(s.cut(8, ids(8, 2)))
				time.Sleep(500 * time.Millisecond)
			} else {
				time.Sleep(untilFresh)
			}
			s.beacon(true)
			ends("then", true)
		})
	}
}

// TestNotes: lines for status say what is open, and what the processor has to do.
func TestNotes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		s.answers(false)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1)))
		s.send(s.cut(8, ids(8, 2), ids(8, 3)), 0)
		time.Sleep(time.Second)
		if got := l.Notes(); !slices.Equal(got, [][2]string{{"windows open", "1"},
			{"notices of stored windows", "1, the processor has 1 of them to do"}}) {
			t.Errorf("got %q", got)
		}
		r.follow(notices.take()[0].Epoch, 2)
		if got := l.Notes(); !slices.Contains(got, [2]string{"notices of stored windows",
			"1, the processor has done with all"}) {
			t.Errorf("got %q", got)
		}
		l.stop()
	})
}
