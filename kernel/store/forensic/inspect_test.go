package forensic_test

import (
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/base/fault"
	"holdfast/kernel/store/forensic"
	"holdfast/tests/testenv"
)

func TestInspectNothing(t *testing.T) {
	fs := vfs.NewMem()
	if r := inspect(t, fs); r.Exists || len(r.Findings) > 0 {
		t.Errorf("a directory that is not there: %+v", r)
	}
	must(t, fs.MkdirAll(dbDir, 0o755))
	if r := inspect(t, fs); r.Exists || len(r.Findings) > 0 {
		t.Errorf("an empty directory: %+v", r)
	}
}

func TestInspectSoundStore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := newWorkload(t, fs, 1)
	for range 6 {
		w.run(150, false)
		r := inspect(t, killed(fs))
		if !r.Sound() || r.LastSeq != w.acked {
			t.Fatalf("killed: last sequence number %d, want %d; %v", r.LastSeq, w.acked, r.Findings)
		}
		w.close()
		if r := inspect(t, fs); !r.Sound() || len(r.Findings) > 0 || r.LastSeq != w.acked {
			t.Fatalf("closed: last sequence number %d, want %d; %v", r.LastSeq, w.acked, r.Findings)
		}
		w.open()
	}
	w.close()
	if r := inspect(t, fs); len(r.Manifest.Tables) < 3 || r.FormatVersion != int(pebble.FormatNewest) {
		t.Errorf("%d tables at format %d: too little to mean anything", len(r.Manifest.Tables), r.FormatVersion)
	}
}

// TestInspectWhatWeMayNotRead: a file of another user is no damage. A store that is salvaged for it loses what it knows.
func TestInspectWhatWeMayNotRead(t *testing.T) {
	for _, name := range []string{"MANIFEST", ".log$", ".sst$", "OPTIONS"} {
		mem := vfs.NewCrashableMem()
		w := newWorkload(t, mem, 1)
		w.run(150, false)
		must(t, w.db.Flush())
		w.close()
		fs, armed := failing(mem, errorfs.OpOpen, name, iofs.ErrPermission)
		armed.Store(true)
		r, err := forensic.Inspect(fs, dbDir)
		if !errors.Is(err, iofs.ErrPermission) || len(r.Findings) > 0 || fault.HintOf(err) == "" {
			t.Errorf("%s: got %v and %v, want an error with a hint", name, err, r.Findings)
		}
	}
}

// TestInspectPowerCut cuts the power at random points of histories with lazy commits, opens and
// closes: what a disk may do to unsynced writes is never called damage, with or without promises.
func TestInspectPowerCut(t *testing.T) {
	cuts := 0
	for seed := range uint64(testenv.Count(t, 60)) {
		fs := vfs.NewCrashableMem()
		w := newWorkload(t, fs, seed)
		rng := rand.New(rand.NewPCG(seed, 7))
		for range 20 {
			for range rng.IntN(30) {
				w.commit(rng.IntN(3) == 0, seed%2 == 0)
			}
			if rng.IntN(8) == 0 {
				must(t, w.db.Flush())
			}
			cut := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 60, 100}[rng.IntN(4)], RNG: rng})
			cuts++
			r := inspect(t, cut)
			if !r.Sound() {
				t.Fatalf("seed %d: %v", seed, r.Err())
			}
			if r.LastSeq < w.acked {
				t.Fatalf("seed %d: last sequence number %d, acknowledged %d", seed, r.LastSeq, w.acked)
			}
			db, err := pebble.Open(dbDir, options(cut))
			if err != nil {
				t.Fatalf("seed %d: sound, but Pebble says %v; %v", seed, err, r.Findings)
			}
			must(t, db.Close())
			if r := inspect(t, cut); !r.Sound() {
				t.Fatalf("seed %d: opened and closed: %v", seed, r.Err())
			}
			if rng.IntN(6) == 0 {
				w.close()
				w.open()
			}
		}
		w.close()
	}
	t.Logf("%d power cuts", cuts)
}
