package engine

import (
	"fmt"
	"testing"
	"time"

	"holdfast/kernel/store"
)

// TestEventsBehind: who comes back hears what came since, once, also when the history was cut at its old end
// or a restore took what was heard away.
func TestEventsBehind(t *testing.T) {
	st := opened(t, "one").runners[0].env.Store
	begin := time.Unix(1_000_000, 0).UTC()
	add := func(kind string, n int, at time.Time) {
		t.Helper()
		for i := range n {
			if err := st.Update(func(tx *store.Tx) error {
				return AddEvent(tx, Event{Kind: kind, At: at.Add(time.Duration(i) * time.Second)})
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	behind := func(p Position, max int) (ids []string) {
		t.Helper()
		if err := st.View(t.Context(), func(r store.Reader) error {
			list, err := EventsBehind(r, p, max)
			for _, e := range list {
				ids = append(ids, fmt.Sprint(e.Kind, e.ID))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	want := func(what string, got []string, want string) {
		t.Helper()
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", what, got, want)
		}
	}
	add("a", 6, begin)
	want("all", behind(Position{}, 10), "[a1 a2 a3 a4 a5 a6]")
	want("a page", behind(Position{2, begin.Add(time.Second)}, 2), "[a3 a4]")
	want("nothing new", behind(Position{6, begin.Add(5 * time.Second)}, 10), "[]")
	want("without a time", behind(Position{ID: 4}, 10), "[a5 a6]")
	// The store goes back to its fourth event, and other events follow.
	if err := st.Update(func(tx *store.Tx) error {
		tx.DeleteRange(store.Events.K().U64(5), store.Events.K().End())
		tx.Set(keyNextEvent, store.Key(nil).U64(5))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want("gone back, nothing new", behind(Position{6, begin.Add(5 * time.Second)}, 10), "[]")
	add("b", 1, begin.Add(time.Minute))
	want("gone back, behind the end", behind(Position{6, begin.Add(5 * time.Second)}, 10), "[b5]")
	want("another event has the id", behind(Position{5, begin.Add(4 * time.Second)}, 10), "[b5]")
	want("heard before it went back", behind(Position{3, begin.Add(2 * time.Second)}, 10), "[a4 b5]")
	// The old end of the history is cut off.
	if err := st.Update(func(tx *store.Tx) error {
		tx.DeleteRange(store.Events.K(), store.Events.K().U64(4))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want("cut off", behind(Position{2, begin.Add(time.Second)}, 10), "[a4 b5]")
}

// What the history keeps has no password of a URL.
func TestEventsHaveNoPasswordOfAURL(t *testing.T) {
	st := opened(t, "one").runners[0].env.Store
	if err := st.Update(func(tx *store.Tx) error { return AddEvent(tx, Event{Text: "ask http://me:geheim@h/"}) }); err != nil {
		t.Fatal(err)
	}
	err := st.View(t.Context(), func(r store.Reader) error {
		list, err := EventsBehind(r, Position{}, 1)
		if len(list) != 1 || list[0].Text != "ask http://***@h/" {
			t.Errorf("got %+v", list)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
