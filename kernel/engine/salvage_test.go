package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/identity"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// damaged makes a store in dir of so many megabytes that can't be made smaller, with an unreadable
// MANIFEST.
func damaged(t *testing.T, dir string, megabytes int) {
	t.Helper()
	st, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, v := rand.New(rand.NewPCG(1, 2)), make([]byte, 64<<10)
	for i := range uint64(megabytes * 16) {
		for j := range v {
			v[j] = byte(r.Uint32())
		}
		if err := st.UpdateLazy(func(tx *store.Tx) error {
			tx.Set(store.Blocks.K().U64(i), v)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "db", "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	for _, path := range manifests {
		if err := os.WriteFile(path, []byte(strings.Repeat("no manifest ", 20)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// leftovers are what a salvage made in the job's directory and did not put into its place.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*restore*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func idle(name string) engine.Spec {
	return engine.Spec{Name: name, Kind: "test", New: func(context.Context, engine.Env) (engine.Job, error) {
		return work(waiting), nil
	}}
}

// TestSalvageWaitsForRoom: a damaged job on a disk that has no room for its salvage waits for it alone,
// says so, and is salvaged when there is room, with its progress in the status.
func TestSalvageWaitsForRoom(t *testing.T) {
	dir := testenv.SmallDisk(t, 160<<20)
	path := engine.JobDir(dir, "a")
	damaged(t, path, 60)
	e, stop := run(t, dir, &log{}, idle("a"), idle("b"))
	until(t, "the damaged job waits and the other one runs", func() bool {
		return state(t, e, "a").State == engine.BackOff && state(t, e, "b").State == engine.Running
	})
	s := state(t, e, "a")
	if !strings.Contains(s.Error, "left, it needs up to") || !strings.Contains(s.Error, "make room") {
		t.Errorf("the status does not tell what is wanted: %q", s.Error)
	}
	if left := leftovers(t, path); len(left) > 0 || s.Progress != nil {
		t.Errorf("left behind: %v, progress %+v", left, s.Progress)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=600m"); err != nil {
		t.Fatal(err)
	}
	seen, last := 0, 0.0
	until(t, "the job is salvaged and runs", func() bool {
		s := state(t, e, "a")
		if p := s.Progress; p != nil && p.Percent > last && s.State == engine.Salvaging {
			seen, last = seen+1, p.Percent
		}
		return s.State == engine.Running
	})
	if seen < 3 || last > 100 {
		t.Errorf("the progress was seen %d times, last %.0f %%", seen, last)
	}
	if p := state(t, e, "a").Progress; p != nil {
		t.Errorf("the salvage has ended: %+v", p)
	}
	if s := state(t, e, "b"); s.State != engine.Running || s.Error != "" {
		t.Errorf("the other job: %+v", s)
	}
	stop()
}

// TestSalvageThatFailsLeavesNothing ends salvages at different moments: the damaged store stays, and
// nothing is beside it.
func TestSalvageThatFailsLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	damaged(t, dir, 12)
	for _, at := range []float64{0, 50, 75, 85, 95} {
		ctx, cancel := context.WithCancel(t.Context())
		last := 0.0
		_, err := engine.Salvage(ctx, dir, "a", errors.New("test"), engine.SalvageOptions{
			Log: slog.New(slog.DiscardHandler), Tell: func(p engine.Progress) {
				if p.Percent < last {
					t.Errorf("the progress goes back: %v after %v", p.Percent, last)
				}
				if last = p.Percent; last >= at {
					cancel()
				}
			}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended at %v %%: got %v", at, err)
		}
		if left := leftovers(t, dir); len(left) > 0 {
			t.Errorf("ended at %v %%: %v are left behind", at, left)
		}
		if _, err := os.Stat(filepath.Join(dir, "quarantine")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ended at %v %%: the damaged store was moved: %v", at, err)
		}
	}
	_, err := engine.Salvage(t.Context(), dir, "a", errors.New("test"), engine.SalvageOptions{
		Log: slog.New(slog.DiscardHandler), Reserve: 1 << 60})
	if !fault.Is(err, fault.Full) || fault.HintOf(err) == "" {
		t.Errorf("without room: got %v, want a Full fault with a hint", err)
	}
}

// TestStartBesideALeftSalvage: what a crash left of a salvage, on a disk that is full of it, keeps no job
// from starting. A restore that is to be finished stays.
func TestStartBesideALeftSalvage(t *testing.T) {
	dir := testenv.SmallDisk(t, 160<<20)
	for _, name := range []string{".restore", ".restore.sort", ".restore.checkpoint",
		"..restore.checkpoint.new"} {
		left := filepath.Join(engine.JobDir(dir, "gone"), name)
		if err := errors.Join(os.MkdirAll(left, 0o755),
			os.WriteFile(filepath.Join(left, "000004.sst"), make([]byte, 39<<20), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	intent := filepath.Join(engine.JobDir(dir, "other"), ".restore", "INTENT")
	if err := errors.Join(os.MkdirAll(filepath.Dir(intent), 0o755),
		os.WriteFile(intent, []byte(`{"quarantine":"quarantine/x"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log{}, nil))},
		[]engine.Spec{idle("b")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	until(t, "the job runs", func() bool { return state(t, e, "b").State == engine.Running })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := leftovers(t, engine.JobDir(dir, "gone")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	if _, err := os.Stat(intent); err != nil {
		t.Errorf("a restore that is to be finished: %v", err)
	}
}

// TestSalvageCountsSets: behind a salvage the totals of identity sets are those of what they hold, and
// what can't be read of them is gone.
func TestSalvageCountsSets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	o := store.Options{Log: slog.New(slog.DiscardHandler)}
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	hash := func(i int) identity.Seen { return identity.Seen{Hash: identity.HashOf([]byte{byte(i)}), At: noon} }
	// Of the second chunk of ids and of the fourth hash a bit is wrong, of the hashes the total as well.
	withSets(t, dir, o, func(st *store.Store, ids *identity.Set, hashes *identity.Hashed) error {
		return st.Update(func(tx *store.Tx) error {
			_, err := ids.Add(tx, []uint64{1, 2, 3, 70_000, 70_001})
			for i := range 10 {
				_, failed := hashes.Add(tx, noon, []identity.Seen{hash(i)})
				err = errors.Join(err, failed)
			}
			if err != nil {
				return err
			}
			names, err := store.NamesOf(tx, store.SetName)
			wrong := hash(3).Hash
			for _, k := range []store.Key{store.Identities.K().U32(names["ids"]).U48(1),
				store.Hashes.K().U32(names["hashes"]).Raw(wrong[:]), store.Hashes.K().U32(names["hashes"])} {
				v, ok, failed := tx.Get(k)
				if failed != nil || !ok {
					return errors.Join(errors.New("there is no such key"), failed)
				}
				v[len(v)-1] ^= 4
				tx.Set(k, v)
			}
			return err
		})
	})
	_, err := engine.Salvage(t.Context(), dir, "a", errors.New("test"), engine.SalvageOptions{Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	withSets(t, dir, o, func(st *store.Store, ids *identity.Set, hashes *identity.Hashed) error {
		return st.Update(func(tx *store.Tx) error {
			total, err := hashes.Total(tx)
			if err != nil || total != 9 {
				t.Errorf("hashes: got %d, %v; want 9", total, err)
			}
			got, err := hashes.Check(tx, []identity.Seen{hash(2), hash(3)})
			if err != nil || got[0] != identity.Known || got[1] != identity.New {
				t.Errorf("hashes: got %v, %v; want one known and one new", got, err)
			}
			if total, err = ids.Total(tx); err != nil || total != 3 {
				t.Errorf("ids: got %d, %v; want 3", total, err)
			}
			if _, err = ids.RemoveRange(tx, identity.KeyRange{From: 0, To: 100_000}); err != nil {
				return err
			}
			if total, err = ids.Total(tx); total != 0 {
				t.Errorf("ids: %d are left of none", total)
			}
			return err
		})
	})
}

// withSets runs f with the open store in dir and two identity sets in it.
func withSets(t *testing.T, dir string, o store.Options,
	f func(*store.Store, *identity.Set, *identity.Hashed) error) {
	t.Helper()
	st, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := identity.Open(st, "ids")
	if err == nil {
		var hashes *identity.Hashed
		if hashes, err = identity.OpenHashed(st, "hashes", 30*24*time.Hour); err == nil {
			err = f(st, ids, hashes)
		}
	}
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSalvageKeepsTheArchive: what was kept of the damaged store when it was opened goes aside with it.
func TestSalvageKeepsTheArchive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	damaged(t, dir, 1)
	kept := filepath.Join(dir, "archive", "MANIFEST-000001")
	if err := errors.Join(os.MkdirAll(filepath.Dir(kept), 0o755), os.WriteFile(kept, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	place, err := engine.Salvage(t.Context(), dir, "a", errors.New("test"),
		engine.SalvageOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(place, "archive", "MANIFEST-000001")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(kept)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the archive is beside the new store: %v", err)
	}
}
