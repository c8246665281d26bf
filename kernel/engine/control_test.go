package engine

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/record"
	"holdfast/kernel/checkpoint"
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

// TestSinceWhenAJobFails: a job that fails at each start is told to do so since the first time, until it has worked for a while.
func TestSinceWhenAJobFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{room: &Room{}, opts: Options{Log: slog.New(slog.DiscardHandler)}}
		r := newRunner(e, Spec{Name: "one"})
		first := time.Now()
		for range 3 {
			r.set(Starting)
			r.failed(errors.New("no"), time.Second, false)
			if s, err := r.status(t.Context(), counted); err != nil || s.State != BackOff || !s.Since.Equal(first) {
				t.Errorf("got %v since %v, %v; want since %v", s.State, s.Since, err, first)
			}
			time.Sleep(time.Hour)
		}
		r.failed(errors.New("no"), time.Second, true)
		if s, err := r.status(t.Context(), counted); err != nil || !s.Since.Equal(time.Now()) {
			t.Errorf("it had worked: got since %v, %v", s.Since, err)
		}
	})
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

// TestARestoreEndsTheDamage: a store that was met damaged is salvaged at the next start, but not the
// checkpoint that a person restored in its place meanwhile.
func TestARestoreEndsTheDamage(t *testing.T) {
	e, err := New(Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []Spec{{Name: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	e.cache = store.NewCache(1 << 20)
	defer e.cache.Close()
	r, dir := e.runners[0], JobDir(e.opts.Dir, "one")
	opened := func(f func(*store.Store) error) (l record.Lineage) {
		t.Helper()
		st, err := r.openStore(t.Context(), dir)
		if err == nil {
			l = st.Lineage()
			err = errors.Join(f(st), st.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	salvages := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "quarantine", "*-before-damaged*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	opened(func(st *store.Store) error {
		_, err := checkpoint.Create(t.Context(), st, checkpoint.Options{Name: "good"})
		return err
	})
	r.damaged(os.ErrInvalid)
	opened(func(*store.Store) error { return nil })
	if n := salvages(); n != 1 {
		t.Fatalf("a store that was met damaged: %d salvages, want 1", n)
	}
	r.damaged(os.ErrInvalid)
	restore := errand{done: make(chan error, 1), f: func() error {
		_, _, err := checkpoint.Replace(t.Context(), dir, "good", checkpoint.Work{})
		return err
	}}
	r.do(restore)
	if err := <-restore.done; err != nil {
		t.Fatal(err)
	}
	opened(func(*store.Store) error { return nil })
	if n := salvages(); n != 1 || r.met.Load() {
		t.Errorf("behind a restore: %d salvages, want 1; damage is still told: %v", n, r.met.Load())
	}
}
