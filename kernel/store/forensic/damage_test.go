package forensic_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/record"
	"holdfast/kernel/store/forensic"
	"holdfast/tests/testenv"
)

const markPath = "HIGHWATER"

var lineage = record.Lineage{1, 2, 3}

// image is a directory at rest, what had been acknowledged in it, and its high-water mark.
type image struct {
	name string
	fs   *vfs.MemFS
	want map[string]string
}

// heldFlush lets no table be made while held, so that logs pile up.
type heldFlush struct {
	vfs.FS
	mu   sync.Mutex
	cond *sync.Cond
	held bool
}

func (h *heldFlush) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		h.mu.Lock()
		for h.held {
			h.cond.Wait()
		}
		h.mu.Unlock()
	}
	return h.FS.Create(name, c)
}

func (h *heldFlush) hold(on bool) {
	h.mu.Lock()
	h.held = on
	h.mu.Unlock()
	h.cond.Broadcast()
}

// built keeps the images for all tests: none changes them.
var built struct {
	sync.Mutex
	all []image
}

// images builds real stores: killed in their first log, which has no sync offsets, killed with one
// log, killed with several, and closed; at the newest format and at the oldest one that may be used.
func images(t *testing.T) []image {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.all != nil {
		return built.all
	}
	var all []image
	for _, format := range []pebble.FormatMajorVersion{pebble.FormatNewest, pebble.FormatWALSyncChunks} {
		for _, state := range []string{"killed", "piled", "closed", "young"} {
			all = append(all, build(t, state, format))
		}
	}
	built.all = all
	return all
}

func build(t *testing.T, state string, format pebble.FormatMajorVersion) image {
	t.Helper()
	mem := vfs.NewCrashableMem()
	h := &heldFlush{FS: mem}
	h.cond = sync.NewCond(&h.mu)
	watch := forensic.WatchFS(h, dbDir)
	o := options(watch)
	o.FormatMajorVersion, o.MemTableStopWritesThreshold = format, 40
	w := newWorkloadWith(t, o, uint64(format))
	switch state {
	case "young":
		w.run(60, true)
	case "piled":
		w.run(900, true)
		h.hold(true)
		w.run(500, true)
	default:
		w.run(960, true)
	}
	hw, _, err := forensic.OpenHighWater(mem, markPath)
	must(t, err)
	must(t, hw.Raise(forensic.Mark{Lineage: lineage, Commit: 1}))
	must(t, hw.Raise(watch.Durable(forensic.Mark{Lineage: lineage, Commit: uint64(len(w.log)), Seq: w.acked})))
	must(t, hw.Close())
	img := image{name: fmt.Sprintf("%s-%d", state, format), want: maps.Clone(w.want)}
	if state == "closed" {
		w.close()
		img.fs = killed(mem)
		return img
	}
	img.fs = killed(mem)
	h.hold(false)
	w.close()
	return img
}

// copyOf clones an image with its mark.
func (img image) copyOf(t *testing.T) *vfs.MemFS {
	t.Helper()
	to := clone(t, img.fs)
	write(t, to, markPath, read(t, img.fs, markPath))
	return to
}

// served opens a directory read-only and reads everything. It tells a refusal, an error and a
// panic alike as an error: what matters is whether Pebble serves other content without a word.
func served(fs vfs.FS) (got map[string]string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	o := options(fs)
	o.ReadOnly = true
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	db, err := pebble.Open(dbDir, o)
	if err != nil {
		return nil, err
	}
	got, err = content(db)
	return got, errors.Join(err, db.Close())
}

// verdict is all that forensic says of a directory before it is opened.
func verdict(t *testing.T, fs vfs.FS) []forensic.Finding {
	t.Helper()
	r := inspect(t, fs)
	hw, found, err := forensic.OpenHighWater(fs, markPath)
	must(t, err)
	defer hw.Close()
	found = append(found, r.Findings...)
	found = append(found, hw.Mark().Check(&r)...)
	for _, table := range r.Manifest.Tables {
		found = append(found, forensic.VerifyTable(fs, fs.PathJoin(dbDir, fmt.Sprintf("%06d.sst", table.File)))...)
	}
	return found
}

func TestImagesAreSound(t *testing.T) {
	for _, img := range images(t) {
		if found := verdict(t, img.copyOf(t)); !forensic.Sound(found) {
			t.Errorf("%s: %v", img.name, found)
		}
		got, err := served(img.copyOf(t))
		if err != nil || !maps.Equal(got, img.want) {
			t.Errorf("%s: %v, %d keys, want %d", img.name, err, len(got), len(img.want))
		}
		r := inspect(t, img.fs)
		if strings.HasPrefix(img.name, "young") {
			continue
		}
		if len(r.WALs) < 3 && strings.HasPrefix(img.name, "piled") || len(r.Manifest.Tables) < 3 {
			t.Errorf("%s: %d logs, %d tables: too little to mean anything", img.name, len(r.WALs), len(r.Manifest.Tables))
		}
	}
}

// kinds are the kinds of files, each with the files of it that are live in a report.
var kinds = []struct {
	name  string
	files func(r *forensic.Report, names []string) []string
}{
	{"MANIFEST", func(r *forensic.Report, _ []string) []string { return []string{r.Manifest.File} }},
	{"OPTIONS", prefixed("OPTIONS-")},
	{"last log", func(r *forensic.Report, _ []string) []string {
		if len(r.WALs) == 0 {
			return nil
		}
		return []string{r.WALs[len(r.WALs)-1].File}
	}},
	{"older log", func(r *forensic.Report, _ []string) []string {
		var files []string
		for _, w := range r.WALs {
			if !w.Last {
				files = append(files, w.File)
			}
		}
		return files
	}},
	{"table", func(r *forensic.Report, _ []string) []string {
		var files []string
		for _, t := range r.Manifest.Tables {
			files = append(files, fmt.Sprintf("%06d.sst", t.File))
		}
		return files
	}},
	{"marker", prefixed("marker.")},
	{"high-water", func(*forensic.Report, []string) []string { return []string{"../" + markPath} }},
}

func prefixed(p string) func(*forensic.Report, []string) []string {
	return func(_ *forensic.Report, names []string) []string {
		var files []string
		for _, name := range names {
			if strings.HasPrefix(name, p) {
				files = append(files, name)
			}
		}
		return files
	}
}

// damage turns one bit of a file or cuts it; an empty file has only its name to be damaged.
func damage(t *testing.T, fs vfs.FS, name string, rng *rand.Rand) string {
	t.Helper()
	path := fs.PathJoin(dbDir, name)
	data := read(t, fs, path)
	switch cut := rng.IntN(4) == 0; {
	case len(data) == 0 && cut:
		must(t, fs.Remove(path))
		return "removed " + name
	case len(data) == 0:
		b := []byte(name)
		i, bit := rng.IntN(len(b)), rng.IntN(7)
		if b[i] ^= 1 << bit; b[i] == '/' || b[i] == 0 {
			b[i] = 'x'
		}
		must(t, fs.Rename(path, fs.PathJoin(dbDir, string(b))))
		return fmt.Sprintf("renamed %s to %q", name, b)
	case cut:
		at := rng.IntN(len(data))
		write(t, fs, path, data[:at])
		return fmt.Sprintf("cut %s at %d of %d", name, at, len(data))
	}
	bit := rng.IntN(len(data) * 8)
	data[bit/8] ^= 1 << (bit % 8)
	write(t, fs, path, data)
	return fmt.Sprintf("turned bit %d of byte %d of %d of %s", bit%8, bit/8, len(data), name)
}

// TestDamageIsNeverSilent is the promise of the package: whenever what Pebble would serve is not
// what was acknowledged, it was said before Pebble opened the directory. What is not said has not
// changed the content. It also counts how often Pebble by itself says nothing.
func TestDamageIsNeverSilent(t *testing.T) {
	type count struct{ trials, told, changed, silent, refused, harmless int }
	counts, trials := map[string]*count{}, testenv.Count(t, 30)
	for _, img := range images(t) {
		r := inspect(t, img.fs)
		names, err := img.fs.List(dbDir)
		must(t, err)
		for _, kind := range kinds {
			files := kind.files(&r, names)
			if len(files) == 0 {
				continue
			}
			c := counts[kind.name]
			if c == nil {
				c = &count{}
				counts[kind.name] = c
			}
			for n := range trials {
				rng := rand.New(rand.NewPCG(uint64(n), uint64(len(img.name)*1000+len(kind.name))))
				fs := img.copyOf(t)
				what := damage(t, fs, files[rng.IntN(len(files))], rng)
				found := verdict(t, fs)
				told := !forensic.Sound(found)
				got, err := served(fs)
				same := err == nil && maps.Equal(got, img.want)
				c.trials++
				switch {
				case same && told:
					c.told++
				case same:
					c.harmless++
				case told:
					c.told++
					c.changed++
				default:
					t.Errorf("%s, trial %d: %s: not told, but Pebble serves %d keys of %d (%v); findings %v",
						img.name, n, what, len(got), len(img.want), err, found)
				}
				if err != nil {
					c.refused++
				} else if !same {
					c.silent++
				}
			}
		}
	}
	for _, kind := range kinds {
		if c := counts[kind.name]; c != nil {
			t.Logf("%-10s %4d trials: %4d told (%d of them change the content), %d harmless; "+
				"Pebble alone: refused %d, wrong without a word %d", kind.name, c.trials, c.told, c.changed,
				c.harmless, c.refused, c.silent)
		}
	}
}

// TestPebbleLosesTheLogsEnd shows the trap: about every second flipped bit in the last log makes
// Pebble serve less than was acknowledged, without an error.
func TestPebbleLosesTheLogsEnd(t *testing.T) {
	img := images(t)[0]
	last := inspect(t, img.fs).WALs
	path := dbDir + "/" + last[len(last)-1].File
	silent := 0
	for n := range 20 {
		fs := img.copyOf(t)
		data := read(t, fs, path)
		bit := rand.New(rand.NewPCG(uint64(n), 6)).IntN(int(last[len(last)-1].Served) * 8)
		data[bit/8] ^= 1 << (bit % 8)
		write(t, fs, path, data)
		if got, err := served(fs); err == nil && !maps.Equal(got, img.want) {
			silent++
		}
		if r := inspect(t, fs); r.Sound() {
			t.Errorf("bit %d turned: not told", bit)
		}
	}
	if silent == 0 {
		t.Error("Pebble was never silent: the trap has changed")
	}
	t.Logf("Pebble was silent in %d of 20", silent)
}
