package streamer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/filesource"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// TestRestart: in the middle of a page's window, of sending, and behind the end, it goes on where it was,
// under the same epoch; nothing is sent again by itself but what the last half second had.
func TestRestart(t *testing.T) {
	pacedRig(t, hours(10, 0, 1, 2), func(t *testing.T, r *rig, h *hub, l *listener) {
		r.cfg.Batch, r.cfg.Interval = 3, time.Minute
		stop, _ := r.start()
		time.Sleep(30 * time.Second)
		stop()
		want := []string{"manifest:1", "0:0", "1:0", "2:0", "LAST:0"}
		if got := l.heard(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for range 3 {
			stop, _ = r.start()
			time.Sleep(45 * time.Second)
			stop()
			r.books()
		}
		want = append(want, "manifest:2", "0:1", "1:1", "2:1", "LAST:1", "manifest:3", "0:2", "1:2", "2:2", "LAST:2")
		// What was sent in the moment of the end, and not yet written down, is sent once more: a manifest and a batch at most, and
		// whoever hears both may hear the first one last.
		got := l.heard()
		if firsts := firstsOf(got); !slices.Equal(firsts, want) || len(got) > len(want)+2 {
			t.Errorf("got %v, want %v", got, want)
		}
		if n := len(l.epochs()); n != 1 {
			t.Errorf("%d epochs", n)
		}
		if b := r.books(); b.Accepted != 30 || b.Read != 30 {
			t.Errorf("books: %+v", b)
		}
	})
}

// firstsOf leaves out what came before.
func firstsOf(all []string) (firsts []string) {
	for _, one := range all {
		if !slices.Contains(firsts, one) {
			firsts = append(firsts, one)
		}
	}
	return firsts
}

// TestUnconfirmedOverRestart: what nobody confirmed can be asked for after a restart, and what was confirmed
// is known to be.
func TestUnconfirmedOverRestart(t *testing.T) {
	pacedRig(t, hours(4, 0, 1), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		stop, _ := r.start()
		time.Sleep(5 * time.Second)
		epoch := l.all()[0].Epoch
		l.say(confirm(epoch, 1))
		time.Sleep(time.Second)
		stop()
		l.forget()
		stop, _ = r.start()
		time.Sleep(5 * time.Second)
		if b := l.lastBeacon(); b.Epoch != epoch || b.Confirmed != 1 || b.Newest != 2 || b.Oldest != 1 || !b.End {
			t.Errorf("beacon: %+v", b)
		}
		if got := l.heard(); len(got) > 0 {
			t.Errorf("%v were sent again, and nobody asked", got)
		}
		l.say(wire.Ask{Epoch: epoch, Number: 2, Batches: []int{0}}.Message(names))
		time.Sleep(time.Second)
		if got := l.heard(); !slices.Equal(got, []string{"manifest:2", "LAST:1"}) {
			t.Errorf("got %v", got)
		}
		stop()
	})
}

// TestNewLife: a store that was restored begins an epoch; what was confirmed is not in it, what was not can
// be asked for, and who asks in the former one learns that it is gone.
func TestNewLife(t *testing.T) {
	pacedRig(t, hours(4, 0, 1, 2, 3), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.Interval = time.Minute
		stop, _ := r.start()
		time.Sleep(150 * time.Second) // three are out, and one is not
		before := l.all()
		l.say(confirm(before[0].Epoch, 1))
		time.Sleep(time.Second)
		stop()
		st := r.open()
		if err := errors.Join(st.NewLineage(), st.Close()); err != nil {
			t.Fatal(err)
		}
		l.forget()
		stop, _ = r.start()
		time.Sleep(5 * time.Second)
		b := l.lastBeacon()
		if b.Epoch == before[0].Epoch || b.Oldest != 1 || b.Newest != 2 || b.Confirmed != 0 {
			t.Errorf("beacon: %+v", b)
		}
		if got := l.heard(); len(got) > 0 {
			t.Errorf("%v were sent again, and nobody asked", got)
		}
		l.say(wire.Ask{Epoch: b.Epoch, Number: 1, Batches: []int{0}}.Message(names))
		l.say(wire.Ask{Epoch: before[0].Epoch, Number: 2}.Message(names))
		time.Sleep(time.Second)
		if got := l.heard(); !slices.Equal(got, []string{"manifest:1", "LAST:1"}) {
			t.Errorf("got %v", got)
		}
		if len(l.refusals()) != 1 || l.refusals()[0] != (wire.Gone{Epoch: before[0].Epoch, Number: 2}) {
			t.Errorf("gone: %v", l.refusals())
		}
		m := l.manifest(b.Epoch, 1)
		if old := l.manifest(before[0].Epoch, 2); !slices.Equal(m.Batches, old.Batches) || !m.From.Equal(old.From) {
			t.Errorf("the window is another: %v, was %v", m, old)
		}
		time.Sleep(2 * time.Minute)
		if got := l.heard(); !slices.Equal(got[2:], []string{"manifest:3", "LAST:3"}) {
			t.Errorf("the next window: got %v", got)
		}
		stop()
		r.books()
	})
}

// TestSalvaged: of a store that lost some, the windows that are whole go on in a new epoch, the others are
// told as lost, and the numbering has no holes.
func TestSalvaged(t *testing.T) {
	pacedRig(t, hours(6, 0, 1, 2, 3, 4), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.Batch, r.cfg.Interval = 2, time.Minute
		stop, _ := r.start()
		time.Sleep(90 * time.Second) // two are out, two more are cut, the last is a pile
		stop()
		st := r.open()
		err := st.Update(func(tx *store.Tx) error {
			tx.Delete(keyBatch(2, 1))                     // of the second window
			tx.Set(keyWindow(3), []byte("\x01garbage"))   // the third
			tx.Set(keyBatch(99, 0), []byte("of nothing")) // what a salvage brought back
			tx.Set(keyPile(98), []byte{1, '{', '}'})      // likewise
			tx.Delete(keyTail(5))                         // of the pile
			return nil
		})
		if err := errors.Join(err, st.NewLineage(), st.Close()); err != nil {
			t.Fatal(err)
		}
		stop, _ = r.start()
		time.Sleep(10 * time.Minute)
		stop()
		b := r.books()
		if b.GapSums.Lost != 6+4 || len(r.events("damage.lost")) != 3 {
			t.Errorf("%d rows are lost, want 6 of the second window and 4 of the pile; %q", b.GapSums.Lost,
				r.events("damage.lost"))
		}
		r.look(func(rd store.Reader) error {
			s, err := readSaved(rd, "")
			for i, w := range s.windows {
				if w.Number != uint64(i)+1 || !whole(rd, w.Pile, w.Parts) {
					t.Errorf("window %d is %+v", i+1, w)
				}
			}
			if ok, _ := rd.Look(keyBatch(99, 0), func([]byte) error { return nil }); ok {
				t.Error("a batch of nothing is still there")
			}
			return err
		})
	})
}

// TestMoreAfterSalvage: a window says of no others of its time that are lost.
func TestMoreAfterSalvage(t *testing.T) {
	hour := func(n int) time.Time { return day.Add(time.Duration(n) * time.Hour) }
	s := saved{piles: []*pile{newPile(9, hour(3), hour(4))}}
	for i, at := range []int{1, 2, 1, 3} {
		s.windows = append(s.windows, &window{Number: uint64(i + 1), From: hour(at), To: hour(at + 1), More: true})
	}
	st := newRig(t, newHub(), nil).open()
	defer st.Close()
	if err := st.Update(func(tx *store.Tx) error { s.mendMore(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false, true} {
		if s.windows[i].More != want {
			t.Errorf("window %d says more: %v", i+1, s.windows[i].More)
		}
	}
}

// TestRetention: what is confirmed stays as long as it is to be retained, what is not as long as there is
// room; who asks for one that went learns it.
func TestRetention(t *testing.T) {
	pacedRig(t, hours(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.RetainWindows, r.cfg.RetainBytes, r.cfg.Interval, r.cfg.Expire = 2, 6*5000, time.Minute, true
		stop, _ := r.start()
		time.Sleep(210 * time.Second) // four are out
		epoch := l.all()[0].Epoch
		l.say(confirm(epoch, 3))
		time.Sleep(5 * time.Second)
		if b := l.lastBeacon(); b.Oldest != 2 || b.Newest != 4 || b.Confirmed != 3 {
			t.Errorf("confirmed: beacon %+v", b)
		}
		if w := r.running().desk.figures(); w.marks.GivenUp != 0 {
			t.Errorf("figures: %+v", w)
		}
		time.Sleep(10 * time.Minute) // all are out, and only six have room
		b := l.lastBeacon()
		if b.Newest != 10 || b.Oldest <= 4 || b.Oldest > 6 || b.Confirmed != 3 {
			t.Errorf("unconfirmed: beacon %+v", b)
		}
		l.forget()
		l.say(wire.Ask{Epoch: epoch, Number: 4, Batches: []int{0}}.Message(names))
		l.say(wire.Ask{Epoch: epoch, Number: b.Oldest}.Message(names))
		time.Sleep(time.Second)
		got, gone := l.heard(), l.refusals()
		if !slices.Equal(got, []string{fmt.Sprintf("manifest:%d", b.Oldest)}) || len(gone) != 1 || gone[0].Number != 4 {
			t.Errorf("got %v, gone %v", got, gone)
		}
		rows := int64(b.Oldest-4) * 40
		if f := r.running().desk.figures(); f.marks.GivenUp != rows || f.bytes > r.cfg.RetainBytes {
			t.Errorf("%d rows were given up, want %d: %+v", f.marks.GivenUp, rows, f)
		}
		if q := r.running().Quotas()[0]; q.Level == engine.Fine || q.Hard != r.cfg.RetainBytes || q.Policy != "expire" {
			t.Errorf("quota: %+v", q)
		}
		stop()
		if got := r.books(); got.GapSums.Lost != rows {
			t.Errorf("%d rows are lost by the books, want %d", got.GapSums.Lost, rows)
		}
		if w := r.events("stream.lost"); len(w) == 0 || !strings.Contains(w[0], "can't be sent again any more") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestConfirmedBeforeItWent: windows that were chosen to go, and that were confirmed before they went, are not lost.
func TestConfirmedBeforeItWent(t *testing.T) {
	pacedRig(t, hours(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.RetainWindows, r.cfg.Interval, r.cfg.Expire = 100, time.Minute, true
		stop, _ := r.start()
		time.Sleep(210 * time.Second) // four are out
		j := r.running()
		var chosen []*window
		j.desk.look(func() { chosen = []*window{j.desk.windows[2], j.desk.windows[3], j.desk.windows[4]} })
		l.say(confirm(l.all()[0].Epoch, 3))
		time.Sleep(5 * time.Second)
		if err := j.remove(chosen, lost, j.tooMany); err != nil {
			t.Fatal(err)
		}
		if f := j.desk.figures(); f.marks.Confirmed != 3 || f.marks.GivenUp != 40 {
			t.Errorf("figures: %+v", f)
		}
		stop()
		if got := r.books(); got.GapSums.Lost != 40 {
			t.Errorf("%d rows are lost by the books, want 40", got.GapSums.Lost)
		}
		if w := r.events("stream.lost"); len(w) != 1 || !strings.HasPrefix(w[0], "windows 4 to 4, 40 rows") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestHold: without leave to let unconfirmed windows go, reading waits for their confirmation, and nothing is
// lost.
func TestHold(t *testing.T) {
	pacedRig(t, hours(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.RetainBytes, r.cfg.Interval, r.cfg.Once = 6*5000, 10*time.Second, true
		_, ended := r.start()
		time.Sleep(5 * time.Second)
		l.say(wire.Confirm{Epoch: l.all()[0].Epoch}.Message(names)) // there is an ingester
		time.Sleep(5 * time.Minute)
		j := r.running()
		f := j.desk.figures()
		if f.marks.Sent < 5 || f.marks.Sent > 8 || f.marks.GivenUp != 0 || f.kept != int(f.marks.Sent) {
			t.Errorf("figures: %+v", f)
		}
		if q := j.Quotas()[0]; q.Level != engine.Hard || q.Policy != "hold" {
			t.Errorf("quota: %+v", q)
		}
		l.mu.Lock()
		l.confirms = true
		l.mu.Unlock()
		r.ends(ended)
		if b := r.books(); b.Accepted != 400 || b.GapSums.Lost != 0 || len(l.all()) != 10 {
			t.Errorf("books: %+v", b)
		}
		if w := r.events("quota.hard"); len(w) == 0 || !strings.Contains(w[0], "reading waits") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestRoomForUnsent: with the broker away and a pace, windows wait in the store while there is room, then the
// file does; once it is back nothing goes before it was confirmed.
func TestRoomForUnsent(t *testing.T) {
	pacedRig(t, hours(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), func(t *testing.T, r *rig, h *hub, l *listener) {
		h.goes()
		r.cfg.RetainBytes, r.cfg.Interval, r.cfg.Once, r.cfg.Expire = 10*5000, time.Second, true, true
		_, ended := r.start()
		time.Sleep(time.Minute)
		if f := r.running().desk.figures(); f.next-1 < 4 || f.next-1 > 7 || f.bytes > r.cfg.RetainBytes {
			t.Errorf("figures: %+v", f)
		}
		h.comes()
		r.ends(ended)
		if b := r.books(); b.Accepted != 480 || b.GapSums.Lost != 0 {
			t.Errorf("books: %+v", b)
		}
	})
}

// TestNobodyConfirms: an ingester of old never does. What was sent is taken for delivered, and goes without a
// gap.
func TestNobodyConfirms(t *testing.T) {
	pacedRig(t, hours(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.RetainBytes, r.cfg.InFlight = 6*5000, 1000
		stop, _ := r.start()
		time.Sleep(10 * time.Minute)
		f := r.running().desk.figures()
		if f.marks.Sent != 10 || f.marks.GivenUp != 0 || f.marks.AssumedRows+f.sentRows != 400 || f.pendingRows != 0 {
			t.Errorf("figures: %+v", f)
		}
		stop()
		if got := r.books(); got.GapSums.Lost != 0 || len(r.events("stream.expired")) == 0 {
			t.Errorf("books: %+v, events %q", got, r.events("stream.expired"))
		}
	})
}

// TestLoop: the second day follows the first, and what was a dead letter on the first is known on the second.
func TestLoop(t *testing.T) {
	rows := append(hours(3, 0, 12, 23), obs{Zip: "no time"})
	pacedRig(t, rows, func(t *testing.T, r *rig, h *hub, l *listener) {
		opened := 0
		r.cfg.Loop, r.cfg.Interval = true, time.Minute
		r.cfg.Reopen = func() (connector.Source, error) {
			if opened++; opened == 2 {
				return nil, fault.New(fault.Transient, "the disk is away")
			}
			return feedOf(rows, 4), nil
		}
		stop, _ := r.start()
		time.Sleep(4*time.Minute + time.Second)
		stop()
		stop, _ = r.start()
		time.Sleep(4 * time.Minute)
		stop()
		var got []string
		for _, m := range l.all() {
			got = append(got, m.From.Format("02T15"))
		}
		want := []string{"19T00", "19T12", "19T23", "20T00", "20T12", "20T23", "21T00", "21T12", "21T23"}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !strings.Contains(l.payload("LAST:0", 1), `"time":"2023-09-20 00:00","zip_code":"00-0"`) {
			t.Errorf("the second day has %s", l.payload("LAST:0", 1))
		}
		if b := r.books(); b.Rejected != 1 || b.Duplicate < 1 || len(r.letters()) != 1 {
			t.Errorf("books: %+v, letters %q", b, r.letters())
		}
		if w := r.events("gate.closed"); len(w) != 1 || !strings.Contains(w[0], "the disk is away") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestLoopEnds: the loop ends before the dates do, which is told.
func TestLoopEnds(t *testing.T) {
	late := time.Date(9999, 12, 30, 1, 0, 0, 0, time.UTC)
	rows := []obs{{late, "a", 1}, {late.Add(time.Hour), "b", 1}}
	pacedRig(t, rows, func(t *testing.T, r *rig, h *hub, l *listener) {
		r.cfg.Loop = true
		r.cfg.Reopen = func() (connector.Source, error) { return feedOf(rows, 4), nil }
		stop, _ := r.start()
		time.Sleep(time.Minute)
		stop()
		if n := len(l.all()); n != 4 {
			t.Errorf("%d windows, want those of two days", n)
		}
		if w := r.events("stream.lap"); len(w) != 1 || !strings.HasSuffix(w[0], "begins again, 1 day later") {
			t.Errorf("events: %q", w)
		}
		if w := r.events("stream.loop"); len(w) != 1 || !strings.Contains(w[0], "does not begin again: 2 days later") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestSlowIngester: as long as it confirms, what is sent and not confirmed stays below the limit.
func TestSlowIngester(t *testing.T) {
	pacedRig(t, hours(60, 0, 1), func(t *testing.T, r *rig, h *hub, l *listener) {
		l.confirms = false
		r.cfg.Batch, r.cfg.InFlight = 2, 1500
		n := 0
		l.hook = func(m connector.Message) { // by one goroutine, which takes its time
			if m.Topic != names.Data() {
				return
			}
			n++
			time.Sleep(100 * time.Millisecond)
			h.mu.Lock()
			waiting := int64(0)
			for e := range h.listens {
				if e.group == "ingester" {
					waiting = int64(len(e.came))
				}
			}
			h.mu.Unlock()
			if waiting > 1500/100+4 {
				t.Errorf("%d messages wait for the ingester", waiting)
			}
			c := wire.Confirm{Epoch: r.running().desk.epoch, UpTo: uint64(n / 30), Batches: n % 30, End: n == 60}
			_ = h.Publish(t.Context(), c.Message(names))
		}
		began := time.Now()
		r.once()
		if d := time.Since(began); d < 6*time.Second || d > 8*time.Second {
			t.Errorf("it took %v, want about 6 s for 60 batches of 100 ms", d)
		}
	})
}

// TestSource: one that can't be read closes its gate with the cause, and is asked again; a job that is to end
// by itself fails with it.
func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		l := newListener(t, h)
		l.confirms = true
		defer l.listen(t.Context())()
		src := feedOf(hours(3, 0, 1), 2)
		src.breaks(fault.New(fault.Transient, "read data.csv: input/output error"))
		r := newRig(t, h, func() connector.Source { return src })
		stop, _ := r.start()
		time.Sleep(30 * time.Second)
		if s := r.running().Gates()[1]; s.Open || s.Name != "source" || !strings.Contains(s.Cause, "input/output") {
			t.Errorf("gate: %+v", s)
		}
		if n := src.times(); n < 25 || n > 35 {
			t.Errorf("it was asked %d times in 30 s", n)
		}
		src.breaks(nil)
		time.Sleep(10 * time.Second)
		if f := r.running().desk.figures(); f.marks.Confirmed != 2 || !r.running().Gates()[1].Open {
			t.Errorf("figures: %+v", f)
		}
		stop()
		if !src.closed {
			t.Error("the source was not closed")
		}
	})
}

// TestSourceOfOnce: a job that is to end by itself fails with what its source says.
func TestSourceOfOnce(t *testing.T) {
	pacedRig(t, nil, func(t *testing.T, r *rig, h *hub, l *listener) {
		src := feedOf(hours(3, 0), 2)
		src.breaks(fault.New(fault.Permanent, "open data.csv: no such file"))
		r.src, r.cfg.Once = func() connector.Source { return src }, true
		_, ended := r.start()
		time.Sleep(10 * time.Second)
		src.breaks(nil)
		r.ends(ended)
		if w := r.events("job.failed"); len(w) == 0 || !strings.Contains(w[0], "no such file") {
			t.Errorf("events: %q", w)
		}
	})
}

// TestNothing: a data set without a row ends too.
func TestNothing(t *testing.T) {
	pacedRig(t, nil, func(t *testing.T, r *rig, h *hub, l *listener) {
		r.once()
		if b := l.lastBeacon(); !b.End || b.Newest != 0 || b.Oldest != 1 || len(l.heard()) != 0 {
			t.Errorf("beacon: %+v", b)
		}
	})
}

// TestSourceThatCanNotWait: what it lost is told, and a gap.
func TestSourceThatCanNotWait(t *testing.T) {
	pacedRig(t, nil, func(t *testing.T, r *rig, h *hub, l *listener) {
		src := feedOf(hours(3, 0), 2)
		src.pages[1].Lost, src.pages[1].Missed = 7, &connector.Interval{From: day, To: day.Add(time.Minute)}
		taken := 0
		src.pages[1].Taken = func(context.Context) { taken++ }
		r.src = func() connector.Source { return src }
		r.once()
		if b := r.books(); b.GapSums.Lost != 7 || taken != 1 {
			t.Errorf("books: %+v, taken %d times", b, taken)
		}
		if len(r.events("overload.lost")) != 1 || len(r.events("source.missed")) != 1 {
			t.Error("nobody was told")
		}
	})
}

// TestAnotherDataSet: one with another name is read from its beginning, in the same numbering.
func TestAnotherDataSet(t *testing.T) {
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	defer l.listen(t.Context())()
	r := newRig(t, h, func() connector.Source { return feedOf(hours(3, 0, 1), 2) })
	r.once()
	r.once() // nothing is left to do
	if n := len(l.all()); n != 2 {
		t.Errorf("%d windows", n)
	}
	r.cfg.DataSet = "another"
	r.once()
	if all := l.all(); len(all) != 4 || all[3].Number != 4 || all[3].Epoch != all[0].Epoch {
		t.Errorf("windows: %v", all)
	}
	if w := r.events("stream.dataset"); len(w) != 1 {
		t.Errorf("events: %q", w)
	}
}

// TestFile: a file with faults: each is a dead letter that names file and line, and its neighbours go.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	text := "time,zip_code,temp_c\n2023-09-19 00:00,00501,19.5\n2023-09-19 00:00,00544,warm\n,00545,1\n" +
		"2023-09-19 01:00,00501\n2023-09-19 01:00,00501,18\n2023-09-19 00:30,00546,17\n2023-09-19 03:00,00501,\n" +
		"2023-09-19 04:00,00501,3\n9999-12-31 23:00,00501,3\n0001-01-01 00:00,00501,3\n"
	if err := os.WriteFile(filepath.Join(dir, "data.csv"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	defer l.listen(t.Context())()
	r := newRig(t, h, func() connector.Source {
		src, err := filesource.Open(filesource.Config{Path: filepath.Join(dir, "*.csv"), Mode: "once", Format: "csv",
			Time: "time", Settle: time.Millisecond, Columns: []columns.Column{
				{Name: "time", Type: columns.Time, Format: "2006-01-02 15:04"}, {Name: "zip_code", Type: columns.Text},
				{Name: "temp_c", Type: columns.Float64, Optional: true}}}, filesource.Options{End: true})
		if err != nil {
			t.Fatal(err)
		}
		return src
	})
	r.once()
	if got := l.payload("LAST:0", 0); got != `[{"time":"2023-09-19 00:00","zip_code":"00501","temp_c":19.5,"hour":0}]` {
		t.Errorf("got %s", got)
	}
	if got := l.payload("LAST:0", 1); !strings.Contains(got, "00546") { // time went backwards
		t.Errorf("got %s", got)
	}
	if got := l.payload("LAST:3", 0); got != `[{"time":"2023-09-19 03:00","zip_code":"00501","temp_c":null,"hour":3}]` {
		t.Errorf("got %s", got)
	}
	reasons := strings.Join(r.letters(), "\n")
	file := filepath.Join(dir, "data.csv")
	for _, want := range []string{"line 3 of " + file, "temp_c", "line 5 of", "line 10 of " + file + ": time is 9999-12-31T23",
		"line 11 of " + file + ": time is 0001-01-01T00:00:00Z, which stands for no date"} {
		if !strings.Contains(reasons, want) {
			t.Errorf("no dead letter says %q: %s", want, reasons)
		}
	}
	if b := r.books(); b.Read != 10 || b.Accepted != 5 || b.Rejected != 5 || len(r.letters()) != int(b.Rejected) {
		t.Errorf("books: %+v, %q", b, r.letters())
	}
}

// TestFullDisk: nothing is taken in any more, what is there is sent, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	defer l.listen(t.Context())()
	r := newRig(t, h, func() connector.Source { return feedOf(hours(30, 0, 1, 2, 3, 4, 5, 6, 7), 20) })
	r.dir, r.room = testenv.SmallDisk(t, 200<<20), engine.RoomLimits{Soft: 60 << 20, Hard: 40 << 20, Ballast: 1}
	r.cfg.Interval = 300 * time.Millisecond
	fill := func() string {
		var fs unix.Statfs_t
		if err := unix.Statfs(r.dir, &fs); err != nil {
			t.Fatal(err)
		}
		filler := filepath.Join(r.dir, "filler")
		if err := os.WriteFile(filler, make([]byte, int64(fs.Bavail)*fs.Bsize-4<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		return filler
	}
	h.goes()
	starts := 0
	src := r.src
	r.src = func() connector.Source { starts++; return src() }
	stop, _ := r.start()
	until(t, "windows that wait", func() bool { return r.running().desk.figures().next > 2 })
	filler := fill()
	h.comes()
	until(t, "what was cut is sent", func() bool {
		f := r.running().desk.figures()
		return f.marks.Confirmed >= 2 && f.marks.Confirmed == f.next-1
	})
	time.Sleep(time.Second)
	if f := r.running().desk.figures(); f.next-1 > 5 {
		t.Errorf("%d windows were cut on a full disk", f.next-1)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, "everything", func() bool { return r.running().desk.figures().marks.Confirmed == 8 })
	stop()
	if starts != 1 {
		t.Errorf("the job was started %d times", starts)
	}
	if b := r.books(); b.Accepted != 240 {
		t.Errorf("books: %+v", b)
	}
}

// TestConfig: what can't be is refused with all reasons.
func TestConfig(t *testing.T) {
	src := feedOf(nil, 1)
	src.schema.Time = -1
	r := newRig(t, newHub(), func() connector.Source { return src })
	cfg := r.cfg
	cfg.Broker, cfg.Interval, cfg.Speedup, cfg.Loop, cfg.Once = r.b, 1, 1, true, true
	cfg.Names.Prefix = "a b"
	cfg.Key = func(time.Time) string { return "a:b" }
	_, err := New(context.Background(), engine.Env{}, src, cfg)
	for _, want := range []string{"interval and speedup", "how it is opened", "a loop has no end",
		"no column of event times", "one word for a window's key", "channels:"} {
		if err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Permanent) {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
}

// TestDiscard: a person lets a dead letter go; it stays counted as rejected.
func TestDiscard(t *testing.T) {
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	defer l.listen(t.Context())()
	r := newRig(t, h, func() connector.Source { return feedOf(append(hours(1, 0), obs{Zip: "no time"}), 9) })
	stop, _ := r.start()
	until(t, "the window", func() bool { return r.running().desk.figures().marks.Confirmed == 1 })
	j := r.running()
	for _, args := range [][]string{nil, {"1"}, {"x", "why"}, {"7", "why"}} {
		if _, err := j.Command(t.Context(), "dead-discard", args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	for _, name := range []string{"dead-retry", "bogus"} {
		if _, err := j.Command(t.Context(), name, []string{"1"}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := j.Command(t.Context(), "dead-discard", []string{"1", "it", "is", "old"}); err != nil {
		t.Error(err)
	}
	if _, err := j.Command(t.Context(), "try", nil); err != nil {
		t.Error(err)
	}
	stop()
	if b := r.books(); len(r.letters()) != 0 || b.Rejected != 1 {
		t.Errorf("books: %+v, letters %q", b, r.letters())
	}
}
