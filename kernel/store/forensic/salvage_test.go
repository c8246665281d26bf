package forensic_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// entry is what identifies an operation wherever it stands.
type entry struct {
	seq        uint64
	kind       pebble.InternalKeyKind
	key, value string
}

// salvaged collects what SalvageDir finds: everything by file, and the newest live version per key.
func salvaged(t *testing.T, fs vfs.FS, dirs ...string) (byFile map[string][]entry, state map[string]string) {
	t.Helper()
	byFile, newest := map[string][]entry{}, map[string]entry{}
	_, err := forensic.SalvageDir(fs, dirs, func(e forensic.Entry) error {
		got := entry{e.Seq, e.Kind, string(e.Key), string(e.Value)}
		byFile[e.File] = append(byFile[e.File], got)
		if old, ok := newest[got.key]; e.Live && (!ok || old.seq < got.seq) {
			newest[got.key] = got
		}
		return nil
	})
	must(t, err)
	state = map[string]string{}
	for key, e := range newest {
		if e.kind != pebble.InternalKeyKindDelete {
			state[key] = e.value
		}
	}
	return byFile, state
}

// TestSalvageDir: after one flipped bit anywhere nothing is lost at all; after a cut everything is
// found that does not stand in the file that was cut.
func TestSalvageDir(t *testing.T) {
	trials := testenv.Count(t, 10)
	for _, img := range images(t) {
		r := inspect(t, img.fs)
		names, err := img.fs.List(dbDir)
		must(t, err)
		intact, state := salvaged(t, img.fs, dbDir)
		if !maps.Equal(state, img.want) {
			t.Fatalf("%s, undamaged: %d keys salvaged, want %d", img.name, len(state), len(img.want))
		}
		for _, kind := range kinds[:6] {
			files := kind.files(&r, names)
			for n := range trials * min(len(files), 1) {
				rng := rand.New(rand.NewPCG(uint64(n), uint64(len(img.name)*1000+len(kind.name))))
				fs := img.copyOf(t)
				name := files[rng.IntN(len(files))]
				what := damage(t, fs, name, rng)
				byFile, state := salvaged(t, fs, dbDir)
				for file, want := range intact {
					if file != name && !slices.Equal(byFile[file], want) {
						t.Errorf("%s: %s: %d of %d entries of %s are salvaged", img.name, what,
							len(byFile[file]), len(want), file)
					}
				}
				if strings.HasPrefix(what, "turned") && !maps.Equal(state, img.want) {
					t.Errorf("%s: %s: %d keys salvaged, want %d", img.name, what, len(state), len(img.want))
				}
			}
		}
	}
}

// garble overwrites a stretch with noise, as a bad sector or a stray write does.
func garble(t *testing.T, fs vfs.FS, path string, at, n int, rng *rand.Rand) {
	t.Helper()
	data := read(t, fs, path)
	for i := at; i < min(at+n, len(data)); i++ {
		data[i] = byte(rng.Uint32())
	}
	write(t, fs, path, data)
}

func TestSalvageWALBehindGarbage(t *testing.T) {
	img := build(t, "piled", pebble.FormatNewest)
	r := inspect(t, img.fs)
	for n := range testenv.Count(t, 120) {
		rng := rand.New(rand.NewPCG(uint64(n), 3))
		w := r.WALs[rng.IntN(len(r.WALs)-1)]
		path := dbDir + "/" + w.File
		all := batches(t, img.fs, path)
		fs := img.copyOf(t)
		at := rng.IntN(int(w.Served))
		garble(t, fs, path, at, 700, rng)
		got := batches(t, fs, path)
		if len(got) < len(all)-40 || len(got) >= len(all) {
			t.Errorf("%s garbled at %d: %d of %d batches", w.File, at, len(got), len(all))
		}
		for seq, repr := range got {
			if all[seq] != repr {
				t.Errorf("%s garbled at %d: batch %d was never written", w.File, at, seq)
			}
		}
		damaged := inspect(t, fs)
		if damaged.Sound() {
			t.Errorf("%s garbled at %d: %v", w.File, at, damaged.Findings)
		}
		checkLost(t, damaged, all, got)
	}
}

// checkLost compares the sequence numbers that a report calls lost with those that are.
func checkLost(t *testing.T, r forensic.Report, all, got map[uint64]string) {
	t.Helper()
	for seq := range all {
		told := slices.ContainsFunc(r.Findings, func(f forensic.Finding) bool {
			return f.Lost.First <= seq && seq <= f.Lost.Last
		})
		if _, ok := got[seq]; ok == told {
			t.Errorf("batch %d: salvaged %t, told as lost %t; %v", seq, ok, told, r.Findings)
		}
	}
}

func batches(t *testing.T, fs vfs.FS, path string) map[uint64]string {
	t.Helper()
	got := map[uint64]string{}
	_, err := forensic.SalvageWAL(fs, path, func(repr []byte) error {
		first := true
		return forensic.ReadBatch(repr, func(op forensic.Op) error {
			if first && op.Kind != pebble.InternalKeyKindLogData {
				got[op.Seq], first = string(repr), false
			}
			return nil
		})
	})
	must(t, err)
	return got
}

func tableEntries(t *testing.T, fs vfs.FS, path string) (got []entry, s forensic.TableSalvage) {
	t.Helper()
	s, err := forensic.SalvageTable(fs, path, func(k, v []byte, seq uint64, kind pebble.InternalKeyKind) error {
		got = append(got, entry{seq, kind, string(k), string(v)})
		return nil
	})
	must(t, err)
	return got, s
}

// largestTable is the path of an image's largest table.
func largestTable(t *testing.T, img image) string {
	t.Helper()
	r := inspect(t, img.fs)
	tables := r.Manifest.Tables
	largest := slices.MaxFunc(tables, func(a, b forensic.Table) int { return int(a.Size - b.Size) })
	return fmt.Sprintf("%s/%06d.sst", dbDir, largest.File)
}

func TestSalvageTableAroundGarbage(t *testing.T) {
	for _, format := range []pebble.FormatMajorVersion{pebble.FormatNewest, pebble.FormatWALSyncChunks} {
		img := build(t, "closed", format)
		path := largestTable(t, img)
		all, whole := tableEntries(t, img.fs, path)
		if !whole.Whole || len(whole.Findings) > 0 {
			t.Fatalf("undamaged: %+v", whole)
		}
		size := len(read(t, img.fs, path))
		carved, partial := 0, 0
		for n := range 20 {
			rng := rand.New(rand.NewPCG(uint64(n), 9))
			at := rng.IntN(size)
			if n%3 == 0 {
				at = size - 1 - rng.IntN(2500) // where the index is
			}
			fs := img.copyOf(t)
			garble(t, fs, path, at, 1+rng.IntN(900), rng)
			got, s := tableEntries(t, fs, path)
			checkTable(t, all, got, s, fmt.Sprintf("format %d, garbled at %d of %d", format, at, size))
			if s.Carved {
				carved++
			} else if len(s.Lost) > 0 {
				partial++
			}
		}
		if carved < 2 || partial < 2 {
			t.Errorf("%d tables carved, %d read in part: too few to mean anything", carved, partial)
		}
	}
}

// checkTable: nothing invented, everything outside the ranges called lost is there.
func checkTable(t *testing.T, all, got []entry, s forensic.TableSalvage, what string) {
	t.Helper()
	have := map[entry]bool{}
	for _, e := range got {
		have[e] = true
	}
	missing := 0
	for _, e := range all {
		if have[e] {
			delete(have, e)
			continue
		}
		missing++
		lost := slices.ContainsFunc(s.Lost, func(r forensic.KeyRange) bool {
			return e.key >= string(r.After) && (r.UpTo == nil || e.key <= string(r.UpTo))
		})
		if !lost && !s.Carved {
			t.Errorf("%s: %q is not salvaged and not told as lost in %v", what, e.key, s.Lost)
		}
	}
	if len(have) > 0 {
		t.Errorf("%s: %d entries were never written", what, len(have))
	}
	if missing > 0 && s.Whole {
		t.Errorf("%s: %d entries missing of a whole table", what, missing)
	}
	if missing > len(all)/2 {
		t.Errorf("%s: %d of %d entries missing", what, missing, len(all))
	}
}

func TestSalvageTableRangeDeletion(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open(dbDir, options(mem))
	must(t, err)
	must(t, db.Set([]byte("b"), []byte("1"), nil))
	must(t, db.DeleteRange([]byte("a"), []byte("c"), nil))
	must(t, db.Set([]byte("d"), []byte("2"), nil))
	must(t, db.Flush())
	must(t, db.Close())
	r := inspect(t, mem)
	got, _ := tableEntries(t, mem, fmt.Sprintf("%s/%06d.sst", dbDir, r.Manifest.Tables[0].File))
	want := entry{11, pebble.InternalKeyKindRangeDelete, "a", "c"}
	if !slices.Contains(got, want) {
		t.Errorf("got %v, want %v among it", got, want)
	}
	// A table of nothing else.
	db, err = pebble.Open(dbDir, uncompacted(mem))
	must(t, err)
	must(t, db.DeleteRange([]byte("e"), []byte("f"), nil))
	must(t, db.Flush())
	must(t, db.Close())
	names := tables(t, mem, dbDir)
	got, s := tableEntries(t, mem, dbDir+"/"+names[len(names)-1])
	if len(got) != 1 || !s.Whole {
		t.Errorf("got %v, %+v, want one range deletion of a whole table", got, s)
	}
}

func TestSalvageStopsWithVisit(t *testing.T) {
	img := build(t, "killed", pebble.FormatNewest)
	stop := errors.New("stop")
	n := 0
	_, err := forensic.SalvageDir(img.fs, []string{dbDir}, func(forensic.Entry) error {
		if n++; n == 5 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 5 {
		t.Errorf("stopped after %d entries with %v", n, err)
	}
}

// TestSalvageArchived: what Open threw into the archive is salvaged with the directory.
func TestSalvageArchived(t *testing.T) {
	mem, _ := damagedManifest(t)
	before, _ := salvaged(t, mem, dbDir)
	a := forensic.ArchiveFS(mem, dbDir, "archive")
	db, err := pebble.Open(dbDir, uncompacted(a))
	must(t, err)
	must(t, db.Close())
	after, _ := salvaged(t, mem, dbDir, "archive")
	for file, want := range before {
		if got := after[file]; !slices.Equal(got, want) {
			t.Errorf("%s: %d of %d entries after Open", file, len(got), len(want))
		}
	}
}

// TestSalvageAroundBadSectors: what the disk does not give is lost alone, wherever it is.
func TestSalvageAroundBadSectors(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	path := largestTable(t, img)
	all, _ := tableEntries(t, img.fs, path)
	r := inspect(t, img.fs)
	carved := 0
	for _, file := range []string{path, dbDir + "/" + r.Manifest.File, dbDir + "/" + r.WALs[0].File} {
		size := int64(len(read(t, img.fs, file)))
		for _, at := range []int64{0, size / 3, size / 2, size - 1} {
			what := fmt.Sprintf("%s, byte %d of %d", file, at, size)
			fs := storetest.BadSectors{FS: img.fs, Bad: func(p string, from, to int64) bool {
				return p == file && from <= at && at < to
			}}
			n := 0
			out, err := forensic.SalvageDir(fs, []string{dbDir}, func(forensic.Entry) error { n++; return nil })
			must(t, err)
			if n == 0 || forensic.Sound(out.Findings) {
				t.Errorf("%s: %d entries are salvaged, told is %v", what, n, out.Findings)
			}
			if _, err := forensic.Inspect(fs, dbDir); err != nil {
				t.Errorf("%s: the inspection fails: %v", what, err)
			}
			if file == path {
				got, s := tableEntries(t, fs, path)
				checkTable(t, all, got, s, what)
				if s.Carved {
					carved++
				}
			}
		}
	}
	if carved == 0 {
		t.Error("no table was carved")
	}
}
