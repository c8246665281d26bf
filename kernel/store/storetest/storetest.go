// Package storetest gives tests a store, and a disk whose power can be cut.
package storetest

import (
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store"
)

// Options are options for tests: the log is quiet, damage and a failed write fail the test.
func Options(t testing.TB, fs store.FS) store.Options {
	return store.Options{
		FS:      fs,
		Log:     slog.New(slog.DiscardHandler),
		Fatal:   func(err error) { t.Errorf("store can't be written: %v", err) },
		Survive: true,
		Damaged: func(err error) { t.Errorf("damage reported: %v", err) },
	}
}

// Open opens a store on the real disk and closes it with the test.
func Open(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// CrashFS is a file system in memory that remembers what was synced.
type CrashFS struct{ mem *vfs.MemFS }

// NewCrashFS returns an empty one.
func NewCrashFS() *CrashFS { return &CrashFS{vfs.NewCrashableMem()} }

// FS is the file system to hand to a store.
func (c *CrashFS) FS() store.FS { return c.mem }

// Cut returns the disk as it could be found after a power cut at this moment: all that was synced,
// and of the rest each piece with the given probability in percent, by chance of the seed.
func (c *CrashFS) Cut(percent int, seed ...uint64) store.FS { return c.After(percent, seed...).mem }

// After is Cut as a CrashFS that can be cut again.
func (c *CrashFS) After(percent int, seed ...uint64) *CrashFS {
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent}
	if percent > 0 {
		s := uint64(1)
		if len(seed) > 0 {
			s = seed[0]
		}
		cfg.RNG = rand.New(rand.NewPCG(s, s))
	}
	return &CrashFS{c.mem.CrashClone(cfg)}
}
