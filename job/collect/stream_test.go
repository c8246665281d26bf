package collect_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

var textSchema = record.NewSchema([]arrow.Field{
	{Name: "station", Type: arrow.BinaryTypes.String},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s},
}, "station", "at")

type reading struct {
	station string
	at      time.Time
}

// readings makes a page of rows with text keys.
func readings(rows ...reading) connector.Page {
	b := array.NewRecordBuilder(memory.DefaultAllocator, textSchema.Schema)
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.station)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at.Unix()))
	}
	return connector.Page{Rows: b.NewRecordBatch()}
}

// readingPages makes n pages of a hundred rows each, all with keys of their own.
func readingPages(n int) (pages []connector.Page) {
	for page := range n {
		var rows []reading
		for i := range 100 {
			rows = append(rows, reading{fmt.Sprintf("%d of page %d", i, page), time.Now()})
		}
		pages = append(pages, readings(rows...))
	}
	return pages
}

// script is a stream that gives its pages one by one, and then ends.
type script struct {
	pages []connector.Page
	next  int
}

func (s *script) Traits() connector.SourceTraits { return connector.SourceTraits{} }
func (s *script) Schema() record.Schema          { return textSchema }
func (s *script) Start(uint64) []byte            { return nil }
func (s *script) Close() error                   { return nil }

func (s *script) Fetch(context.Context, connector.Request) (connector.Page, error) {
	p := s.pages[s.next]
	s.next++
	p.Cursor, p.More, p.End = []byte{byte(s.next)}, true, s.next == len(s.pages)
	return p, nil
}

// streamed runs a job over the pages of a stream until the stream's end, and returns its books.
func streamed(t *testing.T, dir string, window time.Duration, pages ...connector.Page) engine.Books {
	t.Helper()
	r := &rig{t: t, dir: dir}
	sp := engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(dir, "rows.sqlite"), Table: "rows"})
			if err != nil {
				return nil, err
			}
			return collect.New(ctx, env, &script{pages: pages},
				[]collect.Sink{{Name: "main", Sink: sink, Every: time.Hour}},
				collect.Config{Source: "stream", Intake: collect.IntakeOptions{Window: window},
					NextPoll: func(last time.Time) time.Time { return last }})
		}}
	r.runSpec(sp)
	return r.books()
}

// TestTextKeysAreKnown takes rows in whose keys are no integers: each once, in one life and the next.
func TestTextKeysAreKnown(t *testing.T) {
	now := time.Now()
	a, b, c := reading{"alpha", now}, reading{"beta", now}, reading{"gamma", now}
	dir := t.TempDir()
	bad := readings(c)
	bad.Rejected = []connector.Reject{{Key: "delta", Raw: []byte("x"), Reason: "no"}, {Raw: []byte("y"), Reason: "no"}}
	got := streamed(t, dir, 0, readings(a, b, a), readings(b), bad, bad)
	if want := (balance.Intake{Read: 10, Accepted: 3, Duplicate: 5, Rejected: 2}); got.Intake != want {
		t.Errorf("first life: got %+v, want %+v", got.Intake, want)
	}
	got = streamed(t, dir, 0, readings(a, b, c, reading{"epsilon", now}), readings())
	want := balance.Intake{Read: 14, Accepted: 4, Duplicate: 8, Rejected: 2}
	if got.Intake != want || !got.Balanced() {
		t.Errorf("second life: got %+v, want %+v", got.Intake, want)
	}
	if s := got.Sinks[0]; s.Delivered != 4 || s.Pending != 0 {
		t.Errorf("sink: got %+v, want 4 rows delivered when the stream has ended", s)
	}
}

// TestLostByOverloadIsTold: what a stream could not hold is a gap, and breaks no law.
func TestLostByOverloadIsTold(t *testing.T) {
	p := readings(reading{"alpha", time.Now()})
	p.Lost = 7
	q := readings(reading{"beta", time.Now()})
	q.Lost = 5
	got := streamed(t, t.TempDir(), 0, p, q)
	if n := got.GapSums.Lost; n != 12 || !got.Balanced() {
		t.Errorf("got %d rows lost (%+v), want 12", n, got.GapSums)
	}
}

// TestMissedIsTold: a time in which nobody heard the source is an event that outlives the process.
func TestMissedIsTold(t *testing.T) {
	from := time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)
	p := readings(reading{"alpha", time.Now()})
	p.Missed = &connector.Interval{From: from, To: from.Add(time.Minute)}
	r := &rig{t: t, dir: t.TempDir()}
	streamed(t, r.dir, 0, p, readings(reading{"beta", time.Now()}))
	st := r.open()
	defer st.Close()
	told := 0
	err := st.View(t.Context(), func(rd store.Reader) error {
		list, err := engine.ReadEvents(rd, 0, 1000)
		for _, e := range list {
			if e.Kind == "source.missed" && strings.Contains(e.Text, "from 2026-07-15T12:00:00Z to 2026-07-15T12:01:00Z") {
				told++
			}
		}
		return err
	})
	if err != nil || told != 1 {
		t.Errorf("got the event %d times (%v), want once", told, err)
	}
}
