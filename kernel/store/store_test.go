package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(n uint64) store.Key { return store.Job.K().U64(n) }

func count(t *testing.T, s *store.Store) int {
	t.Helper()
	n := 0
	err := s.View(t.Context(), func(r store.Reader) error {
		seq, fail := r.Scan(store.Job.K(), store.Job.K().End())
		for range seq {
			n++
		}
		return fail()
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	wanted := errors.New("no")
	err := s.Update(func(tx *store.Tx) error {
		tx.Set(key(1), []byte("a"))
		return wanted
	})
	if err != wanted || count(t, s) != 0 {
		t.Errorf("got %v and %d keys, want the function's error and none", err, count(t, s))
	}
	err = s.Update(func(tx *store.Tx) error {
		tx.Set(key(1), []byte("a"))
		if v, ok, err := tx.Get(key(1)); err != nil || !ok || string(v) != "a" {
			t.Errorf("a transaction does not see its own write: %q %v %v", v, ok, err)
		}
		return nil
	})
	if err != nil || count(t, s) != 1 {
		t.Errorf("got %v and %d keys", err, count(t, s))
	}
}

// TestDirectoryIsGone: when its directory is removed or replaced, the store says so instead of committing to what has no name.
func TestDirectoryIsGone(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "job")
		told := make(chan error, 10)
		s, err := store.Open(dir, store.Options{Survive: true, Fatal: func(err error) { told <- err }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		write := func() error {
			return s.Update(func(tx *store.Tx) error { tx.Set(key(1), nil); return nil })
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+".moved"); err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := os.CopyFS(dir, os.DirFS(dir+".moved")); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(10 * time.Second); ; {
			if err = write(); err != nil || time.Now().After(deadline) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err == nil || !strings.Contains(err.Error(), "removed or replaced") || len(told) == 0 {
			t.Errorf("replaced %v: got %v, told %d times", replaced, err, len(told))
		}
	}
}

func TestReopenKeepsLineageAndCommits(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	l := s.Lineage()
	for i := range uint64(10) {
		if err := s.Update(func(tx *store.Tx) error { tx.Set(key(i), nil); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	n := s.Durable()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, dir)
	if s.Lineage() != l || s.Durable() != n || count(t, s) != 10 {
		t.Errorf("got lineage %v, commit %d, %d keys; want %v, %d, 10", s.Lineage(), s.Durable(),
			count(t, s), l, n)
	}
	if err := s.NewLineage(); err != nil || s.Lineage() == l {
		t.Errorf("the lineage did not change: %v", err)
	}
}

func TestNamesAreNeverInherited(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	id := func(name string) (id uint32, created bool) {
		err := s.Update(func(tx *store.Tx) (err error) {
			id, created, err = tx.ID(store.SinkName, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return id, created
	}
	a, created := id("main")
	if !created {
		t.Error("the first use of a name is not new")
	}
	if b, created := id("main"); b != a || created {
		t.Errorf("second use: got %d, want %d", b, a)
	}
	if err := s.Update(func(tx *store.Tx) error { tx.Forget(store.SinkName, "main"); return nil }); err != nil {
		t.Fatal(err)
	}
	if b, created := id("main"); b == a || !created {
		t.Errorf("a forgotten name came back with its id %d", a)
	}
}

// A view must not show what a power cut could still take back. Writers race with readers; every few
// views the disk is cut at that very moment, and what the view showed must be in the clone.
func TestViewShowsOnlyWhatIsDurable(t *testing.T) {
	fs := storetest.NewCrashFS()
	s, err := store.Open("/job", storetest.Options(t, fs.FS()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for round := range uint64(30) {
		var wg sync.WaitGroup
		for w := range uint64(3) {
			wg.Go(func() {
				for i := range uint64(20) {
					commit := s.Update
					if i%3 == 0 {
						commit = s.UpdateLazy
					}
					commit(func(tx *store.Tx) error { tx.Set(key(round<<32|w<<16|i), nil); return nil })
				}
			})
		}
		seen := map[string]bool{}
		var cut store.FS
		err := s.View(t.Context(), func(r store.Reader) error {
			seq, fail := r.Scan(store.Job.K(), store.Job.K().End())
			for k := range seq {
				seen[string(k)] = true
			}
			cut = fs.Cut(0)
			return fail()
		})
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		re, err := store.Open("/job", storetest.Options(t, cut))
		if err != nil {
			t.Fatal(err)
		}
		err = re.View(t.Context(), func(r store.Reader) error {
			for k := range seen {
				if _, ok, err := r.Get(store.Key(k)); !ok || err != nil {
					return fmt.Errorf("key %x was shown and is gone after the cut (%v)", k, err)
				}
			}
			return nil
		})
		re.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestViewEndsWithItsContext(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.View(ctx, func(store.Reader) error { return nil }); err != nil {
		t.Errorf("nothing to wait for, and yet %v", err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, err := store.Open(b.TempDir(), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			v := make([]byte, 100)
			b.SetParallelism((writers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := uint64(0); pb.Next(); i++ {
					s.Update(func(tx *store.Tx) error { tx.Set(key(i), v); return nil })
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// TestAPanicLeavesNothingOpen: a panic ends one run of a job, and its store is closed and opened again.
func TestAPanicLeavesNothingOpen(t *testing.T) {
	st, err := store.Open(t.TempDir(), storetest.Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Update(func(tx *store.Tx) error { tx.Set(key(1), []byte("a")); return nil }); err != nil {
		t.Fatal(err)
	}
	look := func(r store.Reader) error {
		_, err := r.Look(key(1), func([]byte) error { panic("test") })
		return err
	}
	for _, read := range []func(){
		func() { _ = st.View(t.Context(), look) },
		func() { _ = st.Latest(look) },
		func() { _ = st.Update(func(tx *store.Tx) error { return look(tx) }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic went no further")
				}
			}()
			read()
		}()
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamageInATableIsToldInOneLine: what carries details for programs is not for people.
func TestDamageInATableIsToldInOneLine(t *testing.T) {
	dir := t.TempDir()
	o := storetest.Options(t, nil)
	o.Damaged = func(error) {}
	st, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(200) { // until a memtable is full
		v := make([]byte, 100<<10)
		rand.NewChaCha8([32]byte{byte(i)}).Read(v)
		if err := st.Update(func(tx *store.Tx) error { tx.Set(key(i), v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	b, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(tables[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err = store.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var bad []error
	for i := range uint64(200) {
		err := st.View(t.Context(), func(r store.Reader) error { _, _, err := r.Get(key(i)); return err })
		if err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) == 0 {
		t.Fatal("the damage was not met")
	}
	for _, err := range bad {
		if text := err.Error(); !fault.Is(err, fault.Corrupt) || strings.ContainsAny(text, "\n<>") ||
			!strings.Contains(text, "checksum") {
			t.Errorf("got %q", text)
		}
	}
}

// TestABadSectorIsTheDisks: what the disk does not give is not taken for damage, and is told from the files
// of others.
func TestABadSectorIsTheDisks(t *testing.T) {
	var bad atomic.Bool
	fs := storetest.BadSectors{FS: storetest.NewCrashFS().FS(), Bad: func(path string, from, to int64) bool {
		return bad.Load() && strings.HasSuffix(path, ".sst")
	}}
	s, err := store.Open("a", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	v := make([]byte, 100<<10)
	for i := range uint64(200) { // until a memtable is full
		rand.NewChaCha8([32]byte{byte(i)}).Read(v)
		if err := s.Update(func(tx *store.Tx) error { tx.Set(key(i), v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open("a", storetest.Options(t, fs)); err != nil {
		t.Fatal(err)
	}
	read := func() (err error) {
		for i := range uint64(200) {
			err = errors.Join(err, s.View(t.Context(), func(r store.Reader) error { _, _, err := r.Get(key(i)); return err }))
		}
		return err
	}
	bad.Store(true)
	if err := read(); !errors.Is(err, store.ErrUnreadable) || fault.Is(err, fault.Corrupt) {
		t.Errorf("got %v", err)
	}
	bad.Store(false)
	if err := read(); err != nil {
		t.Errorf("the disk is back: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
