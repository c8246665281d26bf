package messages

import (
	"testing"
	"testing/synctest"
	"time"

	"holdfast/connector/columns"
)

// TestHeardIsWhatWasTaken: a cursor says that all was heard up to when the last message that was taken came,
// and nothing of those that wait still: a kill loses them.
func TestHeardIsWhatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{Rows: 2}.WithDefaults()
		table, err := columns.New(columns.Spec{Columns: []columns.Column{{Name: "id", Type: "int64"}}, Key: "id",
			Extra: columns.ExtraDrop})
		if err != nil {
			t.Fatal(err)
		}
		b := NewBuffer(limits)
		begun := time.Now().UTC()
		take := func(since time.Time) time.Time {
			t.Helper()
			heard, err := b.Take(newBlock(table.Begin(t.Context()), limits), since)
			if err != nil {
				t.Fatal(err)
			}
			return heard
		}
		if got := take(begun); !got.Equal(begun) {
			t.Errorf("nothing came: heard until %v, want %v", got, begun)
		}
		for range 3 { // after 1, 2 and 3 s
			time.Sleep(time.Second)
			b.Put([]byte(`{"id": 1}`))
		}
		time.Sleep(time.Hour)
		for i, want := range []time.Duration{2 * time.Second, 3 * time.Second, 3 * time.Second} {
			if got := take(begun.Add(3 * time.Second)).Sub(begun); got != want {
				t.Errorf("page %d: heard until %v, want %v", i, got, want)
			}
		}
	})
}

// TestMissedBeginsWhereTheCursorSays: however often it is asked, and not at all before the first time.
func TestMissedBeginsWhereTheCursorSays(t *testing.T) {
	now := time.Now()
	if got := Missed(time.Time{}, now); got != nil {
		t.Errorf("before the first time: got %v", got)
	}
	for range 2 {
		if got := Missed(now, now.Add(time.Hour)); got == nil || !got.From.Equal(now) || !got.To.Equal(now.Add(time.Hour)) {
			t.Errorf("got %v, want an hour from %v", got, now)
		}
	}
}
