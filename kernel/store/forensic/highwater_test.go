package forensic_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/record"
	"holdfast/kernel/store/forensic"
	"holdfast/tests/testenv"
)

func openMark(t *testing.T, fs vfs.FS) (*forensic.HighWater, []forensic.Finding) {
	t.Helper()
	h, found, err := forensic.OpenHighWater(fs, markPath)
	must(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h, found
}

func TestHighWaterKeepsTheHighest(t *testing.T) {
	mem := vfs.NewMem()
	h, found := openMark(t, mem)
	if len(found) != 1 || found[0].Kind != forensic.Missing || !forensic.Sound(found) {
		t.Errorf("a new file: %v", found)
	}
	if h.Mark() != (forensic.Mark{}) {
		t.Errorf("a new file claims %+v", h.Mark())
	}
	var want forensic.Mark
	for i := range uint64(7) {
		want = forensic.Mark{Lineage: lineage, Commit: i + 1, ManifestNum: 2 + i, ManifestSize: 300,
			WALNum: 4 + i, WALOffset: int64(i) * 1000, Seq: 20 + i}
		must(t, h.Raise(want))
		must(t, h.Raise(forensic.Mark{Lineage: lineage, Commit: 1})) // lower: passed over
		again, found := openMark(t, mem)
		if again.Mark() != want || len(found) > 0 {
			t.Fatalf("read %+v, want %+v; %v", again.Mark(), want, found)
		}
	}
	next := forensic.Mark{Lineage: record.Lineage{9}, Commit: 1}
	must(t, h.Raise(next)) // another life begins low
	if again, _ := openMark(t, mem); again.Mark() != next {
		t.Errorf("read %+v, want %+v", again.Mark(), next)
	}
}

// TestHighWaterTornWrite cuts the power in each write: the mark is the old one or the new one.
func TestHighWaterTornWrite(t *testing.T) {
	seen := map[uint64]int{}
	for seed := range uint64(100) {
		mem := vfs.NewCrashableMem()
		h, _ := openMark(t, mem)
		last := 1 + seed%3
		for commit := range last {
			must(t, h.Raise(forensic.Mark{Commit: commit + 1}))
		}
		unsynced, _, err := forensic.OpenHighWater(syncless{mem}, markPath)
		must(t, err)
		if err := unsynced.Raise(forensic.Mark{Commit: last + 1}); err == nil {
			t.Fatal("a mark whose sync failed was raised")
		}
		must(t, unsynced.Close())
		rng := rand.New(rand.NewPCG(seed, 2))
		got, _ := openMark(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
		c := got.Mark().Commit
		if c != last && c != last+1 {
			t.Fatalf("after a cut in raising to %d the mark is %d", last+1, c)
		}
		seen[c-last]++
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("old and new marks seen: %v", seen)
	}
}

// syncless is a file system whose files can't be synced.
type syncless struct{ vfs.FS }

func (s syncless) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, o...)
	return unsyncable{f}, err
}

type unsyncable struct{ vfs.File }

func (unsyncable) Sync() error { return vfs.ErrUnsupported }

// TestHighWaterDamage: any one flipped bit or cut leaves a mark that is not above the last, is told
// unless it changed nothing, and never keeps the file from being opened and raised again.
func TestHighWaterDamage(t *testing.T) {
	mem := vfs.NewMem()
	h, _ := openMark(t, mem)
	old := forensic.Mark{Commit: 1, Seq: 10}
	last := forensic.Mark{Commit: 2, Seq: 20}
	must(t, h.Raise(old))
	must(t, h.Raise(last))
	whole := read(t, mem, markPath)
	for n := range 1000 {
		rng := rand.New(rand.NewPCG(uint64(n), 4))
		data, cut := slices.Clone(whole), n%5 == 0
		if cut {
			data = data[:rng.IntN(len(data))]
		} else if bit := rng.IntN(2 * 88 * 8); bit < 88*8 {
			data[bit/8] ^= 1 << (bit % 8)
		} else {
			bit -= 88 * 8
			data[4096+bit/8] ^= 1 << (bit % 8)
		}
		write(t, mem, markPath, data)
		h, found := openMark(t, mem)
		switch got := h.Mark(); {
		case got != last && got != old && got != (forensic.Mark{}):
			t.Fatalf("trial %d: a mark out of nothing: %+v", n, got)
		case len(found) == 0:
			t.Errorf("trial %d: not told", n)
		case !cut && got == (forensic.Mark{}):
			t.Errorf("trial %d: one bit took both slots", n)
		}
		must(t, h.Raise(forensic.Mark{Commit: 9}))
		again, found := openMark(t, mem)
		if again.Mark().Commit != 9 || cut && len(found) > 0 {
			t.Fatalf("trial %d: raised, but read %+v, %v", n, again.Mark(), found)
		}
	}
}

// TestHighWaterPowerCut raises the mark after random acknowledged commits of a running store and
// cuts the power: the mark is never above what survives.
func TestHighWaterPowerCut(t *testing.T) {
	raised := 0
	for seed := range uint64(testenv.Count(t, 60)) {
		mem := vfs.NewCrashableMem()
		watch := forensic.WatchFS(mem, dbDir)
		h, _ := openMark(t, mem)
		w := newWorkloadWith(t, options(watch), seed)
		rng := rand.New(rand.NewPCG(seed, 8))
		for range 20 {
			for range rng.IntN(40) {
				w.commit(rng.IntN(2) == 0, true)
				if rng.IntN(10) == 0 && w.acked > 0 {
					must(t, h.Raise(watch.Durable(forensic.Mark{Lineage: lineage, Commit: uint64(len(w.log)), Seq: w.acked})))
					raised++
				}
			}
			cut := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50}[rng.IntN(2)], RNG: rng})
			r := inspect(t, cut)
			mark, _ := openMark(t, cut)
			if found := mark.Mark().Check(&r); len(found) > 0 || !r.Sound() {
				t.Fatalf("seed %d: mark %+v: %v; %v", seed, mark.Mark(), found, r.Findings)
			}
		}
		w.close()
	}
	if raised < 20 {
		t.Errorf("raised %d times: too little to mean anything", raised)
	}
}

// TestHighWaterTellsRollback: a last log or MANIFEST cut at any point below the mark, a log that is
// gone, an older MANIFEST put back, a directory that is gone: all told, and by nothing else for the
// clean cuts.
func TestHighWaterTellsRollback(t *testing.T) {
	img := build(t, "killed", pebble.FormatNewest)
	r := inspect(t, img.fs)
	last := r.WALs[len(r.WALs)-1]
	silent := 0
	for _, at := range []int64{0, last.Served / 3, last.Served / 2, last.Served - 1} {
		fs := img.copyOf(t)
		path := dbDir + "/" + last.File
		write(t, fs, path, read(t, fs, path)[:at])
		cut := inspect(t, fs)
		mark, _ := openMark(t, fs)
		if forensic.Sound(mark.Mark().Check(&cut)) {
			t.Errorf("%s cut at %d: not told", last.File, at)
		}
		if cut.Sound() {
			silent++
		}
	}
	if silent == 0 {
		t.Error("every cut was told without the mark: it proves nothing")
	}
	fs := img.copyOf(t)
	must(t, fs.Remove(dbDir+"/"+last.File))
	gone := inspect(t, fs)
	mark, _ := openMark(t, fs)
	if forensic.Sound(mark.Mark().Check(&gone)) {
		t.Error("the last log is gone: not told")
	}
	must(t, fs.RemoveAll(dbDir))
	gone = inspect(t, fs)
	if forensic.Sound(mark.Mark().Check(&gone)) {
		t.Error("the directory is gone: not told")
	}
	m := mark.Mark()
	for _, tc := range []struct {
		lineage record.Lineage
		commit  uint64
		sound   bool
	}{{lineage, m.Commit, true}, {lineage, m.Commit + 1, true}, {lineage, m.Commit - 1, false},
		{record.Lineage{7}, m.Commit, false}} {
		if got := forensic.Sound(m.CheckOpened(tc.lineage, tc.commit)); got != tc.sound {
			t.Errorf("opened at %v, commit %d: sound %t", tc.lineage, tc.commit, got)
		}
	}
}

// TestHighWaterAtTheEndOfABlock: a log that was synced up to a block's end has its last chunk some
// bytes in front of that, which is no rollback; one that ends a chunk earlier is.
func TestHighWaterAtTheEndOfABlock(t *testing.T) {
	const end = 32 << 10
	m := forensic.Mark{Commit: 1, ManifestNum: 1, ManifestSize: end, WALNum: 2, WALOffset: end}
	for intact, sound := range map[int64]bool{end: true, end - 5: true, end - 18: true,
		end - 19: false, 100: false} {
		for _, at := range [][2]int64{{intact, end}, {end, intact}} {
			r := forensic.Report{Exists: true, Manifest: forensic.Manifest{Num: 1, Intact: at[0]},
				WALs: []forensic.WAL{{Num: 2, Intact: at[1]}}}
			if found := m.Check(&r); forensic.Sound(found) != sound {
				t.Errorf("%v of %d bytes can be read: found %v, want sound %t", at, end, found, sound)
			}
		}
	}
}
