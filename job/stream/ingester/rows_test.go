package ingester

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/job/stream/wire"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
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

// oneWindow is the notice of a window with these rows, and what the spool gives of it.
func (r *rig) oneWindow(hour int, payloads ...[]byte) (l *life, n wire.Stored, ok bool) {
	r.t.Helper()
	s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
	l = r.begin()
	s.beacon(false)
	s.send(s.cut(hour, payloads...))
	time.Sleep(time.Second)
	all := notices.take()
	if len(all) != 1 {
		r.t.Fatalf("got %v", briefs(all))
	}
	_, ok = l.spooled(all[0])
	return l, all[0], ok
}

// TestRowsOfTheTable: the spool gives a window only if what it has is known to be what the table has.
func TestRowsOfTheTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(r *rig)
		rows   [][]byte
		want   bool
	}{
		{"nothing is odd", func(*rig) {}, [][]byte{ids(7, 1, 2), ids(7, 3)}, true},
		{"a row comes twice in a batch", func(*rig) {}, [][]byte{ids(7, 1, 2, 1)}, false},
		{"a row comes twice in two batches", func(*rig) {}, [][]byte{ids(7, 1, 2), ids(7, 3, 1)}, false},
		{"a row is refused", func(r *rig) { r.sinks[0].bad = "2" }, [][]byte{ids(7, 1, 2)}, false},
		{"another sink refuses a row", func(r *rig) {
			r.sinks = append(r.sinks, newSink())
			r.sinks[1].bad = "2"
		}, [][]byte{ids(7, 1, 2)}, true},
		{"the table has rows", func(r *rig) { r.sinks[0].rows["9"] = 1 }, [][]byte{ids(7, 1, 2)}, false},
		{"the table can't be asked", func(r *rig) { r.blind = true }, [][]byte{ids(7, 1, 2)}, false},
		{"the table can't be read", func(r *rig) {
			r.sinks[0].away = fault.New(fault.Permanent, "no SELECT for you")
		}, [][]byte{ids(7, 1, 2)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				c.before(r)
				l, _, ok := r.oneWindow(7, c.rows...)
				if ok != c.want {
					t.Errorf("the spool gives the window: %v, want %v", ok, c.want)
				}
				l.stop()
			})
		})
	}
}

// TestRefusedForGood: a window of which a row was refused is the database's, also when the dead letter is gone and the
// ingester began again.
func TestRefusedForGood(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.sinks[0].bad = "2"
		l, n, _ := r.oneWindow(7, ids(7, 1, 2))
		if _, err := l.job.Command(t.Context(), "dead-discard", []string{"1", "it is bad"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, ok := l.spooled(n); ok {
				t.Error("the spool gives the row that was discarded")
			}
			l.stop()
			l = r.begin()
		}
		l.stop()
	})
}

// TestTableIsMetOnce: whether the table was empty is asked before the first row is written, and stands for a life of the
// store. A table that is away is asked again before anything is written.
func TestTableIsMetOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.sinks[0].away = fault.New(fault.Transient, "it is away")
		s, notices := newStation(r.h, "e"), listenFor[wire.Stored](r.h)
		l := r.begin()
		s.beacon(false)
		s.send(s.cut(7, ids(7, 1, 2)))
		time.Sleep(time.Minute)
		want(t, "rows before the table was met", r.sinks[0].holds())
		r.sinks[0].set(func(s *table) { s.away = nil })
		time.Sleep(time.Minute)
		all := notices.take()
		for range 2 { // the table has rows by the second time: ours
			if _, ok := l.spooled(all[0]); !ok {
				t.Error("the spool does not give the window")
			}
			l.stop()
			l = r.begin()
		}
		l.stop()
		r.place = "another table" // which may have whatever it wants
		l = r.begin()
		if _, ok := l.spooled(all[0]); ok {
			t.Error("the spool gives a window that went to another table")
		}
		l.stop()
	})
}

// TestTableIsMetAnew: a store that was at work before it looked at the table, or that went back, knows nothing of its rows.
func TestTableIsMetAnew(t *testing.T) {
	for name, change := range map[string]func(tx *store.Tx){
		"it never looked": func(tx *store.Tx) { tx.Delete(keyTable()) },
		"it went back": func(tx *store.Tx) {
			tx.Set(keyTable(), []byte(`{"lineage":"00000000000000000000000000000000","empty":true}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				l, n, ok := r.oneWindow(7, ids(7, 1, 2))
				if !ok {
					t.Error("the spool does not give the window")
				}
				l.stop()
				st := r.open()
				if err := st.Update(func(tx *store.Tx) error { change(tx); return nil }); err != nil {
					t.Fatal(err)
				}
				if err := st.Close(); err != nil {
					t.Fatal(err)
				}
				clear(r.sinks[0].rows) // somebody dropped the table
				l = r.begin()
				if _, ok := l.spooled(n); ok {
					t.Error("the spool gives the window")
				}
				l.stop()
			})
		})
	}
}

// BenchmarkKeys is what it costs to find out that no key of a window of 44,000 rows comes twice.
func BenchmarkKeys(b *testing.B) {
	fields := []arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "zip_code",
		Type: arrow.BinaryTypes.String}, {Name: "state", Type: arrow.BinaryTypes.String}}
	rows := array.NewRecordBuilder(memory.DefaultAllocator, record.NewSchema(fields, "", "time").Schema)
	for i := range 44_000 {
		rows.Field(0).(*array.TimestampBuilder).AppendTime(hour0)
		rows.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("%05d", i))
		rows.Field(2).(*array.StringBuilder).Append("Massachusetts")
	}
	batch := rows.NewRecordBatch()
	for b.Loop() {
		k := newKeys([]string{"zip_code", "state"}, hour0, hour0.Add(time.Hour), 44_000)
		if !k.add(batch) {
			b.Fatal("a key came twice")
		}
	}
}
