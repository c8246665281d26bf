package store

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSumsGoWithTheirTables: a store that writes tables and compacts them away remembers the checksums
// of those it has, and of no other.
func TestSumsGoWithTheirTables(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, v := rand.New(rand.NewPCG(1, 1)), make([]byte, 4<<10)
	for range 30 {
		for range 8 {
			for i := range v {
				v[i] = byte(r.Uint32())
			}
			err := s.UpdateLazy(func(tx *Tx) error { tx.Set(Job.K().U64(r.Uint64()), v); return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Compact(t.Context(), Job.K(), Job.K().End(), true); err != nil {
		t.Fatal(err)
	}
	sums, have, known := s.TableSums(), 0, 0
	deadline := time.Now().Add(20 * time.Second)
	for ; time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
		if err != nil {
			t.Fatal(err)
		}
		sums.mu.Lock()
		have, known = len(files), len(sums.sums)
		sums.mu.Unlock()
		if have > 0 && have < 10 && known == have { // the obsolete ones are removed in the background
			return
		}
	}
	left, _ := os.ReadDir(filepath.Join(dir, "db"))
	t.Errorf("%d checksums are remembered of %d tables; %v", known, have, left)
}
