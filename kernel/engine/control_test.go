package engine

import (
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/kernel/store"
)

// opened returns an engine with the named jobs, whose stores are open and which do not work.
func opened(t *testing.T, names ...string) *Engine {
	t.Helper()
	e := &Engine{opts: Options{Log: slog.New(slog.DiscardHandler)}}
	for _, name := range names {
		st, err := store.Open(filepath.Join(t.TempDir(), name), store.Options{Log: e.opts.Log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		r := newRunner(e, Spec{Name: name, Kind: "test"})
		r.env = &Env{Name: name, Store: st}
		e.runners = append(e.runners, r)
	}
	return e
}

// TestStatusOfAJobThatCantBeRead: its counters are damaged, and the other jobs are told of all the same.
func TestStatusOfAJobThatCantBeRead(t *testing.T) {
	e := opened(t, "good", "bad", "other")
	bad := e.runners[1]
	bad.last = "it failed before"
	err := bad.env.Store.Update(func(tx *store.Tx) error {
		id, _, err := tx.ID(store.SourceName, "feed")
		tx.Set(store.Counters.K().U8('i').U32(id), []byte("no counters"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := e.Status(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("got %d jobs, %v; want all three", len(all), err)
	}
	for i, want := range []string{"good", "bad", "other"} {
		if all[i].Name != want || (all[i].Error != "") != (want == "bad") {
			t.Errorf("job %d: got %s with error %q", i, all[i].Name, all[i].Error)
		}
	}
	for _, want := range []string{"it failed before", "counters"} {
		if !strings.Contains(all[1].Error, want) {
			t.Errorf("got the error %q, want it to tell of %q", all[1].Error, want)
		}
	}
}

// TestOrdersWhileTheStateChanges is for the race detector: an order that comes while a job is not open
// tells the state, which the runner changes meanwhile.
func TestOrdersWhileTheStateChanges(t *testing.T) {
	const times = 2000
	e := &Engine{opts: Options{Log: slog.New(slog.DiscardHandler)}}
	e.runners = []*runner{newRunner(e, Spec{Name: "one"})}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range times {
			e.runners[0].set(Salvaging)
			e.runners[0].set(BackOff)
		}
	})
	for _, order := range []func() error{
		func() error { return e.Pause("one") },
		func() error { _, err := e.Command(t.Context(), "one", "backfill", nil); return err },
	} {
		wg.Go(func() {
			for range times {
				if order() == nil {
					t.Error("a job that is not open took an order")
				}
			}
		})
	}
	wg.Wait()
}
