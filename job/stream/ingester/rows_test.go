package ingester

import (
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/job/stream/wire"
	"holdfast/kernel/spool"
)

func (*life) nothing(arrow.RecordBatch) error { return nil }

// spooled are the ids that the spool gives of a window.
func (l *life) spooled(n wire.Stored) (got []string, ok bool) {
	l.t.Helper()
	ok, err := l.Rows(l.t.Context(), n, func(b arrow.RecordBatch) error {
		for i := range int(b.NumRows()) {
			got = append(got, b.Column(1).ValueStr(i))
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	slices.Sort(got)
	return got, ok
}

// TestRows: the spool gives the rows of a window as long as it has all of them, and of its newest notice alone.
func TestRows(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2), ids(7, 3)))
		time.Sleep(time.Second)
		m := s.cut(8, ids(8, 4), ids(8, 5))
		s.answers(false)
		s.send(m, 0)
		time.Sleep(time.Second)
		s.forgets(3)
		s.beacon(false) // what is missing is lost
		time.Sleep(time.Second)
		all := notices.take()
		if len(all) != 2 {
			t.Fatalf("got %v", briefs(all))
		}
		for i, rows := range [][]string{{"1", "2", "3"}, {"4"}} {
			got, ok := l.spooled(all[i])
			if want(t, "rows", got, rows...); !ok {
				t.Errorf("window %d is not in the spool", i+1)
			}
		}
		s.publish(s.batch(m, 1)) // it comes after all
		time.Sleep(time.Second)
		if _, ok := l.spooled(all[1]); ok {
			t.Error("the spool gives a window for a notice that is old")
		}
		again := notices.take()
		got, ok := l.spooled(again[0])
		if want(t, "rows", got, "4", "5"); !ok {
			t.Error("the whole window is not in the spool")
		}
		other := all[0]
		other.Epoch = "another"
		if _, ok := l.spooled(other); ok {
			t.Error("the spool gives a window for a notice of another ingester")
		}
		l.stop()
		r.job.Retain = spool.Retain{}
		l = r.begin()
		time.Sleep(time.Minute)
		if got, ok := l.spooled(all[0]); ok || len(got) > 0 {
			t.Errorf("of a spool that let go: %v %v", got, ok)
		}
		l.stop()
	})
}
