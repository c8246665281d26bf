package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// acts are the steps of a file, as words.
func acts(f *file) (words []string) {
	for _, s := range f.Steps {
		words = append(words, strings.TrimSpace(string(s.What)+" "+s.Where))
	}
	return words
}

// TestHistory: what happened to a file stands in its record: when, where, how long it took and what was found.
func TestHistory(t *testing.T) {
	needFpack(t)
	r := newRig(t, 2)
	r.change = func(c *Config) { c.Pack, c.After = FPack(), Replace }
	r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.write("plain", []byte("plain"))
	r.run(nil)
	files := r.files()
	for name, want := range map[string][]string{
		"a.fits": {"found", "read", "claimed", "packed", "named", "shipped a", "shipped b", "recorded a", "recorded b",
			"replaced"},
		"plain": {"found", "read", "claimed", "named", "shipped a", "shipped b", "recorded a", "recorded b", "kept"},
	} {
		got := acts(files[name])
		order := slices.Clone(got)
		// Destinations go by themselves.
		slices.SortFunc(order, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
		if !slices.Equal(order, want) || got[0] != "found" || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		last := time.Time{}
		for _, s := range files[name].Steps {
			if s.At.Before(last) || s.At.IsZero() {
				t.Errorf("%s: %+v is before %v", name, s, last)
			}
			last = s.At
		}
	}
	text, err := json.Marshal(files["a.fits"].Steps)
	for _, want := range []string{"by test", "FITS: absent", "by fpack, ", "verified by ", "a.fits.fz", "ledger.sqlite"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("nothing says %q: %s (%v)", want, text, err)
		}
	}
	for _, s := range files["a.fits"].To {
		if s.SHA256 == "" || s.SHA256 == files["a.fits"].SHA256 || s.Size == 0 {
			t.Errorf("of what is there it knows %+v", s)
		}
	}
}

// TestHistoryOfTrouble: each failure stands there with its cause, and what a person did about it.
func TestHistoryOfTrouble(t *testing.T) {
	r := newRig(t, 1)
	broken := fault.New(fault.Corrupt, "the arm is stuck")
	r.change = func(c *Config) {
		u := newUnreliable(t, r.to[0])
		u.place = func(_ context.Context, _ string) error { return broken }
		c.Destinations[0].To, c.Attempts = u, 2
	}
	r.write("a", []byte("a"))
	r.write("b", []byte("b"))
	r.run(nil)
	letters := r.letters()
	r.open(func(st *store.Store) {
		if err := RetryDead(st, letters["a"].ID); err != nil {
			t.Error(err)
		}
		if err := DiscardDead(st, letters["b"].ID, "not worth it"); err != nil {
			t.Error(err)
		}
	})
	r.change = nil
	r.run(nil)
	for name, want := range map[string][]string{
		"a": {"found", "read", "named", "failed a", "dead a", "retried a", "shipped a", "kept"},
		"b": {"found", "read", "named", "failed a", "dead a", "discarded a"},
	} {
		f := r.files()[name]
		if got := acts(f); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if s := f.Steps[4]; !strings.Contains(s.Text, "the arm is stuck") {
			t.Errorf("%s: %+v says no cause", name, s)
		}
	}
}

// TestHistoryIsBounded: of a long history the beginning and the end stay; what repeats is one step.
func TestHistoryIsBounded(t *testing.T) {
	f := &file{}
	for i := range 100 {
		f.did(Failed, "", 0, "%d", i)
	}
	if n := len(f.Steps); n != FirstSteps+lastSteps || f.Skipped != 100-n || f.Steps[3].Text != "3" || f.Steps[4].Text != "80" ||
		f.Steps[n-1].Text != "99" {
		t.Errorf("%d steps, %d skipped: %+v", n, f.Skipped, f.Steps)
	}
	for range 5 {
		f.did(PutOff, "a", 0, "away %s", strings.Repeat("é", 1000))
	}
	s := f.Steps[len(f.Steps)-1]
	if s.Times != 5 || len(s.Text) > mostText+5 || f.Skipped != 77 {
		t.Errorf("%d times, %d bytes, %d skipped", s.Times, len(s.Text), f.Skipped)
	}
}

// list asks for files and returns their paths.
func list(t *testing.T, r store.Reader, q Query) (paths []string, next string) {
	t.Helper()
	files, next, err := List(r, q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	for _, f := range files {
		name := f.Path
		if f.PathBytes != nil {
			name = string(f.PathBytes)
		}
		paths = append(paths, name)
	}
	return paths, next
}

// TestList: files are found by the beginning of their name or path, by state and time, the newest first, page by page.
func TestList(t *testing.T) {
	r := newRig(t, 1)
	r.change = func(c *Config) {
		u := newUnreliable(t, r.to[0])
		u.place = func(_ context.Context, name string) error {
			if strings.HasSuffix(name, "bad") {
				return fault.New(fault.Invalid, "it is bad")
			}
			return nil
		}
		c.Destinations[0].To, c.Place = u, Placer{}
	}
	for _, name := range []string{"n1/f1", "n1/f2", "n2/f1", "n2/g", "n10/f3.bad", "hostile\x1b\xff\n%"} {
		r.write(name, []byte(name))
		r.run(nil) // one after the other, so that their order is known
	}
	again := filepath.Join(r.from, "n1/f1")
	if err := os.WriteFile(again, []byte("other bytes, and so another file"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.change = func(c *Config) { c.Place = Placer{Layout: "2006/01/02"} }
	r.run(nil)
	r.view(func(rd store.Reader) error {
		all := []string{"n1/f1", "hostile\x1b\xff\n%", "n10/f3.bad", "n2/g", "n2/f1", "n1/f2", "n1/f1"}
		for _, c := range []struct {
			q    Query
			want []string
		}{
			{Query{}, all},
			{Query{Since: time.Now().Add(-time.Hour)}, all},
			{Query{Since: time.Now().Add(time.Hour)}, nil},
			{Query{Text: "f"}, []string{"n10/f3.bad", "n1/f2", "n1/f1", "n2/f1", "n1/f1"}},
			{Query{Text: "n1"}, nil}, // no name begins so
			{Query{Text: "n1/"}, []string{"n1/f2", "n1/f1", "n1/f1"}},
			{Query{Text: "n2/f"}, []string{"n2/f1"}},
			{Query{Text: "hostile\x1b"}, []string{"hostile\x1b\xff\n%"}},
			{Query{Text: "f", State: Dead}, []string{"n10/f3.bad"}},
			{Query{State: Dead}, []string{"n10/f3.bad"}},
			{Query{State: Shipping}, nil},
			{Query{Path: "n1/f1"}, []string{"n1/f1", "n1/f1"}},
			{Query{Path: "n1/f"}, nil},
		} {
			for _, limit := range []int{1, 2, 100} {
				c.q.Limit, c.q.After = limit, ""
				var got []string
				for more := true; more; more = c.q.After != "" {
					var page []string
					if page, c.q.After = list(t, rd, c.q); len(page) > limit {
						t.Errorf("%+v: a page has %d", c.q, len(page))
					}
					got = append(got, page...)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
				}
			}
		}
		for _, q := range []Query{{State: "lost", Limit: 1}, {After: "?", Limit: 1}, {Text: "a", After: "YmI", Limit: 1}} {
			if _, _, err := List(rd, q); !fault.Is(err, fault.Invalid) {
				t.Errorf("%+v: got %v, want it to be invalid", q, err)
			}
		}
		files, _, err := List(rd, Query{Text: "host", Limit: 1})
		if err != nil {
			return err
		}
		rec, err := Show(rd, files[0].ID)
		text, _ := json.Marshal(rec)
		var back Record
		if err != nil || json.Unmarshal(text, &back) != nil || string(back.PathBytes) != "hostile\x1b\xff\n%" || len(back.Steps) == 0 {
			t.Errorf("got %s (%v)", text, err)
		}
		if _, err := Show(rd, 999); !fault.Is(err, fault.NotFound) {
			t.Errorf("got %v, want that it is not found", err)
		}
		return nil
	})
}

// TestListLooksAtFew: an answer looks at a bounded number of files, whatever matches.
func TestListLooksAtFew(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const n = mostLooked + 50
	err = st.Update(func(tx *store.Tx) error {
		for i := range uint64(n) {
			f := &file{ID: i + 1, Identity: Identity{Path: Name(fmt.Sprintf("f%06d", i))}, State: Done}
			if i == 0 {
				f.State = Dead
			}
			if err := f.put(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.View(t.Context(), func(r store.Reader) error {
		got, next := list(t, r, Query{Text: "f", State: Dead, Limit: 5})
		if len(got) != 0 || next == "" {
			t.Errorf("got %q, next %q; want nothing so far, and that there may be more", got, next)
		}
		if got, next = list(t, r, Query{Text: "f", State: Dead, Limit: 5, After: next}); len(got) != 1 || next != "" {
			t.Errorf("got %q, next %q; want the one", got, next)
		}
		if got, next = list(t, r, Query{State: Dead, Limit: 5}); len(got) != 1 || next != "" {
			t.Errorf("by state: got %q, next %q; want the one at once", got, next)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
