package ingester

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// briefs are notices in short.
func briefs(all []wire.Stored) (out []string) {
	for _, n := range all {
		out = append(out, fmt.Sprintf("%d: %s, %d rows, %d lost, shared %v, again %d", n.Number, n.Window, n.Rows, n.Lost,
			n.Shared, n.Again))
	}
	return out
}

func want[T comparable](t *testing.T, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// follow says what a processor says.
func (r *rig) follow(epoch string, next uint64) {
	r.t.Helper()
	if err := r.h.Publish(r.t.Context(), wire.Follow{Epoch: epoch, Next: next}.Message(names)); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(time.Second)
}

// TestNotices: a window is told once every row of it is stored, and not before; who missed a notice gets it, and a
// window whose notice is done with is told. The numbering goes on in the next life.
func TestNotices(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
		open := r.sinks[0].shut()
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2), ids(7, 3)))
		s.send(s.cut(8, ids(8, 4)), 0)
		time.Sleep(5 * time.Second)
		l.wantStates(Complete, Complete)
		if c := s.has(); c.UpTo != 2 {
			t.Errorf("window %d is confirmed, want both: they are safe", c.UpTo)
		}
		want(t, "before all is stored", briefs(notices.take()))
		open()
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored)
		all := notices.take()
		want(t, "when all is stored", briefs(all), "1: 7, 3 rows, 0 lost, shared false, again 0",
			"2: 8, 1 rows, 0 lost, shared false, again 0")
		if n := all[0]; !n.From.Equal(hour0.Add(7*time.Hour)) || !n.To.Equal(hour0.Add(8*time.Hour)) || !n.Sure ||
			n.At.IsZero() || n.Epoch == "" {
			t.Errorf("the notice is %+v", n)
		}
		if heard := told.take(); heard[len(heard)-1] != (wire.Told{Epoch: all[0].Epoch, Oldest: 1, Newest: 2, Next: 1}) {
			t.Errorf("told: %+v", heard[len(heard)-1])
		}
		r.follow(all[0].Epoch, 1)
		want(t, "who lacks all", briefs(notices.take()), briefs(all)...)
		r.follow(all[0].Epoch, 2)
		want(t, "who has one, while the other is under way", briefs(notices.take()))
		r.follow(all[0].Epoch, 2)
		want(t, "who lacks one", briefs(notices.take()), briefs(all[1:])...)
		l.wantStates(Stored, Told)
		told.take()
		r.follow("another", 7)
		r.follow("", 0)
		want(t, "who follows another", briefs(notices.take()))
		if heard := told.take(); len(heard) < 2 || heard[0].Epoch != all[0].Epoch {
			t.Errorf("who follows another is told %+v", heard)
		}
		l.stop()
		l = r.begin()
		s.send(s.cut(9, ids(9, 5)))
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored, Told)
		want(t, "the next life", briefs(notices.take()), "3: 9, 1 rows, 0 lost, shared false, again 0")
		r.follow(all[0].Epoch, 4)
		l.wantStates(Told, Told, Told)
		l.stop()
		want(t, "the rows", r.sinks[0].holds(), "1", "2", "3", "4", "5")
		if b := r.books(); b.Accepted != 5 || b.Sinks[0].Delivered != 5 {
			t.Errorf("books: %+v", b)
		}
	})
}

// TestProcessorOfOld: one of WeatherVane's is told too, where nobody keeps what it does not hear.
func TestProcessorOfOld(t *testing.T) {
	for _, durable := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			r.h.durable = durable
			s, hours := newStation(r.h, "e"), r.h.channels(names.Processor())
			l := r.begin()
			s.beacon(false)
			s.send(s.cut(7, ids(7, 1)))
			time.Sleep(5 * time.Second)
			l.wantStates(Stored)
			if durable {
				want(t, "a broker that keeps", hours.take())
			} else {
				want(t, "a broker that forgets", hours.take(), "7")
			}
			l.stop()
		})
	}
}

// TestTellsSeldomToNobody: while no processor answers, it is told ever more seldom what there is: a broker that keeps
// messages would keep them all. One that comes is told at once.
func TestTellsSeldomToNobody(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		told := listenFor[wire.Told](r.h)
		l := r.begin()
		time.Sleep(20 * time.Minute)
		if n := len(told.take()); n < 20 || n > 60 {
			t.Errorf("told %d times in 20 minutes", n)
		}
		r.follow("", 0)
		if n := len(told.take()); n != 1 {
			t.Errorf("a processor that comes is told %d times", n)
		}
		l.stop()
	})
}

// TestNewLineage: in another life of the store nobody knows the notices of the former one. What the processor has not
// done with is told anew, under numbers that were never used.
func TestNewLineage(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices, told := newStation(r.h, "e"), listenFor[wire.Stored](r.h), listenFor[wire.Told](r.h)
		l := r.begin()
		s.beacon(false)
		for hour := range 3 {
			s.send(s.cut(hour, ids(hour, 1+hour)))
		}
		time.Sleep(5 * time.Second)
		first := notices.take()
		r.follow(first[0].Epoch, 2)
		l.wantStates(Stored, Stored, Told)
		l.stop()
		st := r.open()
		if err := errors.Join(st.NewLineage(), st.Close()); err != nil {
			t.Fatal(err)
		}
		notices.take()
		told.take()
		l = r.begin()
		time.Sleep(5 * time.Second)
		again := notices.take()
		want(t, "in the new life", briefs(again), "4: 1, 1 rows, 0 lost, shared false, again 1",
			"5: 2, 1 rows, 0 lost, shared false, again 1")
		if again[0].Epoch == first[0].Epoch {
			t.Error("the notices have the old epoch")
		}
		if all := told.take(); all[len(all)-1] != (wire.Told{Epoch: again[0].Epoch, Oldest: 4, Newest: 5, Next: 4}) {
			t.Errorf("told: %+v", all[len(all)-1])
		}
		r.follow(first[0].Epoch, 2)
		want(t, "who follows the former life", briefs(notices.take()))
		r.follow(again[0].Epoch, 6)
		l.wantStates(Told, Told, Told)
		l.stop()
		left := 0
		st = r.open()
		err := st.View(t.Context(), func(rd store.Reader) error {
			all, failed := rd.Scan(keyNotices(), keyNotices().End())
			for range all {
				left++
			}
			return failed()
		})
		if err = errors.Join(err, st.Close()); err != nil || left != 2 {
			t.Errorf("%d notices are kept (%v), want the two of this life", left, err)
		}
	})
}

// TestKnownRows: a window whose rows came before is stored, but not before the blocks that have them are; a
// processor does not get it from the spool.
func TestKnownRows(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.table = testTable("id")
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		open := r.sinks[0].shut()
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2), ids(7, 3)))
		time.Sleep(time.Second)
		s.send(s.cut(8, ids(8, 1, 2), ids(8, 3))) // the first rows have these keys
		s.send(s.cut(9, ids(9, 4), ids(9, 1)))    // its last batch brings nothing new
		time.Sleep(5 * time.Second)
		l.wantStates(Complete, Complete, Complete)
		want(t, "while the rows of the first wait", briefs(notices.take()))
		open()
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored, Stored)
		all := notices.take()
		if len(all) != 3 {
			t.Fatalf("got %v", briefs(all))
		}
		for i, ok := range []bool{true, false, false} {
			if got, err := l.Rows(t.Context(), all[i], l.nothing); err != nil || got != ok {
				t.Errorf("window %d from the spool: %v %v, want %v", i+1, got, err, ok)
			}
		}
		s.send(s.cut(10, ids(10, 1))) // nothing new at all, and nothing that waits
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored, Stored, Stored)
		l.stop()
		if b := r.books(); b.Read != 9 || b.Duplicate != 5 || b.Accepted != 4 {
			t.Errorf("books: %+v", b.Intake)
		}
	})
}

// TestTwoSinks: a window is stored when the last of the sinks has it.
func TestTwoSinks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.sinks = append(r.sinks, newSink())
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		open := r.sinks[1].shut()
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2)))
		time.Sleep(5 * time.Second)
		want(t, "the first sink", r.sinks[0].holds(), "1", "2")
		l.wantStates(Complete)
		open()
		time.Sleep(5 * time.Second)
		l.wantStates(Stored)
		if n := len(notices.take()); n != 1 {
			t.Errorf("%d notices", n)
		}
		l.stop()
	})
}

// TestDeadLetters: a row that a sink refuses, and an item that is no row, hold up no window.
func TestDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		r.sinks[0].bad = "2"
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2), []byte(`[{"time":"2023-09-19 07:00","id":"no number"}]`)))
		s.send(s.cut(8, []byte("it is no array")))
		time.Sleep(5 * time.Second)
		l.wantStates(Stored, Stored)
		want(t, "notices", briefs(notices.take()), "1: 7, 3 rows, 0 lost, shared false, again 0",
			"2: 8, 1 rows, 0 lost, shared false, again 0")
		l.stop()
		if b := r.books(); b.Rejected != 2 || b.Sinks[0].Dead != 1 || b.Sinks[0].Delivered != 1 {
			t.Errorf("books: %+v", b)
		}
	})
}

// TestEmptyWindow: a window without batches is stored and confirmed, also if nothing else happens.
func TestEmptyWindow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7))
		time.Sleep(time.Second)
		l.wantStates(Stored)
		want(t, "notices", briefs(notices.take()), "1: 7, 0 rows, 0 lost, shared false, again 0")
		if c := s.has(); c.UpTo != 1 {
			t.Errorf("confirmed: %+v", c)
		}
		l.stop()
	})
}

// TestLateWindow: a further window of a time is told as one that shares it.
func TestLateWindow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2)))
		s.send(s.cut(8, ids(8, 3)))
		time.Sleep(time.Second)
		s.send(s.cut(7, ids(7, 4)))
		time.Sleep(time.Second)
		s.send(s.cut(7, ids(7, 5)))
		time.Sleep(time.Second)
		want(t, "notices", briefs(notices.take()), "1: 7, 2 rows, 0 lost, shared false, again 0",
			"2: 8, 1 rows, 0 lost, shared false, again 0", "3: 7, 1 rows, 0 lost, shared true, again 1",
			"4: 7, 1 rows, 0 lost, shared true, again 2")
		l.stop()
	})
}

// notes appends notices until there are so many.
func (n *network) notes(upTo uint64) {
	n.t.Helper()
	err := n.book.update(func(tx *store.Tx) error {
		for n.book.log.Newest < upTo {
			if _, err := n.book.notice(tx, View{Epoch: "e", From: hour0}, n.now); err != nil {
				return err
			}
		}
		return n.book.putLog(tx)
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// follows says where a processor is; it wants to hear whether that is a place in the log.
func (n *network) follows(next uint64, want bool) {
	n.t.Helper()
	ours, err := n.book.follow(wire.Follow{Epoch: n.book.log.Epoch, Next: next}, n.now)
	if ours != want || err != nil {
		n.t.Errorf("who wants %d: %v %v, want %v", next, ours, err, want)
	}
}

// holds compares which notices there are.
func (n *network) holds(oldest, newest uint64) {
	n.t.Helper()
	for range 2 {
		if told := n.book.has(false); told.Oldest != oldest || told.Newest != newest {
			n.t.Errorf("told: %+v, want %d to %d", told, oldest, newest)
		}
		if list, err := n.book.notices(n.t.Context(), 0, 100); err != nil || list[0].Number != oldest {
			n.t.Errorf("the first is %+v, %v, want %d", list[0], err, oldest)
		}
		n.restart()
	}
}

// TestManyNotices: a notice that no processor has done with is kept, however many there are, once one was heard. Those that
// one has done with are kept for another, the newest.
func TestManyNotices(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.follows(1, true)
	n.book.log.Newest, n.book.log.First = mostNotices-150, 1 // as if
	n.notes(mostNotices + 50)
	if told := n.book.has(false); told.Oldest != 1 || told.Newest != mostNotices+50 {
		t.Errorf("told: %+v", told)
	}
	list, err := n.book.notices(t.Context(), mostNotices-49, 100)
	if err != nil || len(list) != 100 || list[0].Number != mostNotices-49 || list[99].Number != mostNotices+50 {
		t.Errorf("got %d from %+v on, %v", len(list), list[0], err)
	}
	n.book.log.Next = mostNotices // as if
	n.follows(mostNotices+52, false)
	n.follows(mostNotices+20, true)
	n.notes(mostNotices + 60)
	if n.book.followed() || n.book.log.Cut > 0 {
		t.Errorf("the log: %+v", n.book.log)
	}
	n.follows(mostNotices+61, true)
	if !n.book.followed() {
		t.Errorf("the log: %+v", n.book.log)
	}
}

// TestDoneNotices: of those that a processor has done with the newest are kept, all others go.
func TestDoneNotices(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.follows(1, true)
	n.notes(mostDone + 30)
	n.holds(1, mostDone+30)
	n.follows(21, true)
	n.notes(mostDone + 31)
	n.holds(21, mostDone+31)
	n.follows(mostDone+32, true)
	n.notes(mostDone + 32)
	n.holds(33, mostDone+32)
	n.follows(32, false)
}

// TestNoticesForNobody: while no processor was ever heard, the oldest go, which is told. Where there will be one, they stay.
func TestNoticesForNobody(t *testing.T) {
	for _, awaits := range []bool{false, true} {
		n := newNetwork(t, 1)
		n.bad, n.book.awaits = false, awaits
		n.notes(40)
		n.book.log.Newest = mostNotices - 10 // as if
		n.notes(mostNotices + 3)
		if cut := n.book.log.Cut; awaits && cut != 0 || !awaits && cut != 3 {
			t.Errorf("%d are gone where a processor is awaited: %v", cut, awaits)
		}
		if awaits {
			n.holds(1, mostNotices+3)
			continue
		}
		n.holds(4, mostNotices+3)
		n.follows(4, true)
		n.notes(mostNotices + 20)
		n.holds(4, mostNotices+20)
		in := &Source{book: n.book}
		want(t, "notes", in.Notes(), [2]string{"notices of stored windows", "1000020, the processor has 1000017 of them to do"},
			[2]string{"notices that were let go", "3, while no processor was ever heard: there is no report of their windows"})
	}
}

// TestNoticesAreGivenOnce: a processor gets each notice once, however often it says how far it is, and as many at a time as it
// has room for.
func TestNoticesAreGivenOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const many = mostAhead + 500
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		epoch := l.book.has(false).Epoch
		r.follow(epoch, 1)
		for hour := range many {
			s.send(s.cut(hour, ids(hour, hour)))
		}
		time.Sleep(10 * time.Second)
		all := notices.take()
		if n := len(all); n != mostAhead {
			t.Errorf("%d notices are given at first, want %d", n, mostAhead)
		}
		for next := uint64(2); next <= 302; next += 100 {
			r.follow(epoch, next)
			all = append(all, notices.take()...)
			if n := len(all); n != mostAhead+int(next)-1 {
				t.Errorf("%d notices are given to one that has done with %d", n, next-1)
			}
		}
		r.follow(epoch, many-200)
		for i, n := range append(all, notices.take()...) {
			if n.Number != uint64(i+1) {
				t.Fatalf("notice %d comes as the %dth", n.Number, i+1)
			}
		}
		l.stop()
	})
}

// TestNoticesThatWereLost: what a processor asks for again it is given again, until it came.
func TestNoticesThatWereLost(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const many = 50
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		for hour := range many {
			s.send(s.cut(hour, ids(hour, hour)))
		}
		time.Sleep(time.Second)
		next, rng, epoch := uint64(1), seeded(1), l.book.has(false).Epoch
		for range 60 {
			for _, n := range notices.take() {
				if n.Number == next && rng.IntN(10) < 7 {
					next++
				}
			}
			r.follow(epoch, next)
		}
		if next != many+1 {
			t.Errorf("%d of %d notices came", next-1, many)
		}
		l.stop()
	})
}

// TestNoticesWaitForTheBroker: what is stored while the broker is away is told when it is back, before anything that
// comes then.
func TestNoticesWaitForTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		open := r.sinks[0].shut()
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2)))
		s.send(s.cut(8, ids(8, 3)))
		time.Sleep(time.Second)
		r.h.goes()
		open()
		time.Sleep(time.Minute)
		l.wantStates(Stored, Stored)
		attempts := r.h.comes()
		if attempts < 50 || attempts > 61 {
			t.Errorf("%d attempts in a minute, want one a second", attempts)
		}
		time.Sleep(1100 * time.Millisecond)
		want(t, "notices", briefs(notices.take()), "1: 7, 2 rows, 0 lost, shared false, again 0",
			"2: 8, 1 rows, 0 lost, shared false, again 0")
		l.stop()
	})
}

// TestMuteBroker: a broker that is heard and takes nothing, as one whose memory is full, keeps the gate closed with the
// cause; it does not open and close with each attempt.
func TestMuteBroker(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := newStation(r.h, "e")
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1)))
		time.Sleep(time.Second)
		r.h.change(func() { r.h.mute, r.h.attempts = errors.New("OOM command not allowed"), 0 })
		time.Sleep(time.Minute)
		gate := l.job.Gates()[0]
		if gate.Open || gate.Cause != "OOM command not allowed" {
			t.Errorf("gate: %+v", gate)
		}
		r.h.change(func() {
			if r.h.mute = nil; r.h.attempts > 130 { // a connection that broke unnoticed is tried twice
				t.Errorf("%d attempts in a minute", r.h.attempts)
			}
		})
		time.Sleep(1100 * time.Millisecond)
		if gate := l.job.Gates()[0]; !gate.Open {
			t.Errorf("gate: %+v", gate)
		}
		l.stop()
		want(t, "events", r.events("gate.closed"), "broker: OOM command not allowed")
	})
}

var _ connector.Broker = (*hub)(nil)

// TestEndBehindTheLastNotice: while the notice of the last window is not durable, and so not said, there is no end.
func TestEndBehindTheLastNotice(t *testing.T) {
	b := &book{epochs: map[string]*epoch{"e": {Epoch: "e", End: true}}, near: map[windowID]*window{}}
	b.log.Newest, b.told = 3, 2
	if b.ended("e") {
		t.Error("the end is told with the notice before the last")
	}
	if b.told = 3; !b.ended("e") {
		t.Error("there is no end when all is told")
	}
}

// TestCounted: a notice says how many different rows the table has at least, also if they came in two lives. A row that
// was refused makes that unknown for the windows in its blocks.
func TestCounted(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		counts := func() (keys []int) {
			time.Sleep(time.Second)
			for _, n := range notices.take() {
				keys = append(keys, n.Keys)
			}
			return keys
		}
		l := r.begin()
		s.beacon(false)
		m := s.cut(7, ids(7, 1, 2, 2), ids(7, 2, 3), []byte("[7]"))
		s.answers(false)
		s.send(m, 0)
		time.Sleep(time.Second)
		l.stop()
		l = r.begin()
		s.send(m, 1, 2)
		want(t, "rows that came twice", counts(), 3)
		s.send(s.cut(8, ids(8, 4, 5), ids(9, 6))) // a row of another time
		s.send(s.cut(10))
		want(t, "rows of none, and of another time", counts(), 0, 2)
		r.sinks[0].set(func(t *table) { t.bad = "8" })
		s.send(s.cut(11, ids(11, 7, 8)))
		want(t, "a row that was refused", counts(), 0)
		s.send(s.cut(11, ids(11, 9)))
		want(t, "late rows", counts(), 1)
		s.send(s.cut(7, ids(7, 10)))
		want(t, "late rows of a time of which more are known", counts(), 3)
		l.stop()
	})
}

// lasts makes a window last so long.
func lasts(m wire.Manifest, d time.Duration) wire.Manifest {
	m.To = m.From.Add(d)
	return m
}

// TestOverlap: windows that have some time in common share it, though they begin at different ones; also if they are past.
func TestOverlap(t *testing.T) {
	for _, past := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
			l := r.begin()
			s.beacon(false)
			s.send(lasts(s.cut(4, ids(4, 1)), 4*time.Hour))
			s.send(lasts(s.cut(5, ids(5, 2)), time.Hour))
			time.Sleep(time.Second)
			if past {
				for hour := range nearest {
					s.send(s.cut(100+hour, ids(100+hour, 100+hour)))
				}
			}
			time.Sleep(5 * time.Second)
			notices.take()
			for _, hour := range []int{8, 7} {
				s.send(lasts(s.cut(hour, ids(hour, 10+hour)), time.Hour))
			}
			time.Sleep(time.Second)
			var got []string
			for _, n := range notices.take() {
				got = append(got, fmt.Sprintf("%s shared %v again %d", n.Window, n.Shared, n.Again))
			}
			want(t, fmt.Sprintf("past %v", past), got, "8 shared false again 0", "7 shared true again 1")
			l.stop()
		})
	}
}

// TestMoreToFollow: while another window of a time is not stored, or not even known, its notices say that there is more.
func TestMoreToFollow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		more := func() (all []bool) {
			time.Sleep(time.Second)
			for _, n := range notices.take() {
				all = append(all, n.More)
			}
			return all
		}
		follows := func(m wire.Manifest) wire.Manifest { m.More = true; return m }
		l := r.begin()
		s.answers(false)
		s.beacon(false)
		first, second, third := follows(s.cut(7, ids(7, 1))), follows(s.cut(7, ids(7, 2))), s.cut(7, ids(7, 3), ids(7, 4))
		s.send(first)
		want(t, "the first of three", more(), true)
		s.send(third, 0)
		want(t, "a part of the last", more())
		l.stop()
		l = r.begin()
		s.beacon(false)
		s.send(second)
		want(t, "the second while the third is open", more(), true)
		s.send(third, 1)
		want(t, "the last", more(), false)
		fourth, fifth := follows(s.cut(8, ids(8, 1))), s.cut(8, ids(8, 2))
		s.send(fifth)
		want(t, "the last one alone", more(), false) // nobody knows of the other
		s.send(fourth)
		want(t, "the other behind it", more(), false)
		l.stop()
	})
}
