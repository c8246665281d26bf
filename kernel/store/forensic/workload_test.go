package forensic_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

const dbDir = "db"

// workload drives a real Pebble and remembers what it acknowledged.
type workload struct {
	t     testing.TB
	opts  *pebble.Options
	db    *pebble.DB
	rng   *rand.Rand
	want  map[string]string
	acked uint64 // the last sequence number that was acknowledged
	n     uint64
	log   []map[string]*string // every batch in order; nil deletes
}

// options are those of a small store: many tables, several logs.
func options(fs vfs.FS) *pebble.Options {
	o := &pebble.Options{
		FS: fs, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 128 << 10,
		Logger: quiet{}, L0CompactionThreshold: 4, MaxManifestFileSize: 16 << 10,
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 128 << 10
	}
	return o
}

// quiet drops Pebble's chatter and turns its fatal errors into panics that a test can catch.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fatal(fmt.Sprintf(format, a...))) }

type fatal string

func newWorkload(t testing.TB, fs vfs.FS, seed uint64) *workload {
	t.Helper()
	return newWorkloadWith(t, options(fs), seed)
}

func newWorkloadWith(t testing.TB, o *pebble.Options, seed uint64) *workload {
	t.Helper()
	w := &workload{t: t, opts: o, rng: rand.New(rand.NewPCG(seed, 1)), want: map[string]string{}}
	w.open()
	return w
}

func (w *workload) open() {
	w.t.Helper()
	db, err := pebble.Open(dbDir, w.opts)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.db = db
}

// commit writes one batch of a few keys; with promises it carries the acknowledged number, as a
// store that wants its torn tails told apart does.
func (w *workload) commit(sync bool, promise bool) {
	w.t.Helper()
	b := w.db.NewBatch()
	changes := map[string]*string{}
	for range 1 + w.rng.IntN(6) {
		key := fmt.Sprintf("key-%04d", w.rng.IntN(3000))
		if w.rng.IntN(5) == 0 {
			changes[key] = nil
			continue
		}
		value := w.value()
		changes[key] = &value
	}
	for key, value := range changes {
		if value == nil {
			must(w.t, b.Delete([]byte(key), nil))
		} else {
			must(w.t, b.Set([]byte(key), []byte(*value), nil))
		}
	}
	if promise {
		must(w.t, b.LogData(forensic.Promise(w.acked), nil))
	}
	opt := pebble.NoSync
	if sync {
		opt = pebble.Sync
	}
	must(w.t, w.db.Apply(b, opt))
	if sync {
		w.acked = uint64(b.SeqNum()) + uint64(b.Count()) - 1
	}
	w.log = append(w.log, changes)
	apply(w.want, changes)
	must(w.t, b.Close())
}

func apply(m map[string]string, changes map[string]*string) {
	for key, value := range changes {
		if value == nil {
			delete(m, key)
		} else {
			m[key] = *value
		}
	}
}

func (w *workload) value() string {
	w.n++
	b := make([]byte, 8+w.rng.IntN(600))
	if w.rng.IntN(150) == 0 {
		b = make([]byte, 9000+w.rng.IntN(30000))
	}
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	binary.BigEndian.PutUint64(b, w.n)
	return string(b)
}

func (w *workload) run(batches int, promise bool) {
	w.t.Helper()
	for range batches {
		w.commit(true, promise)
	}
}

func (w *workload) close() {
	w.t.Helper()
	must(w.t, w.db.Close())
}

// content reads everything that a database serves.
func content(db *pebble.DB) (map[string]string, error) {
	iter, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			_ = iter.Close()
			return nil, err
		}
		got[string(iter.Key())] = string(value)
	}
	return got, iter.Close()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inspect(t testing.TB, fs vfs.FS) forensic.Report {
	t.Helper()
	r, err := forensic.Inspect(fs, dbDir)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	return r
}

func read(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	must(t, err)
	return data
}

func write(t testing.TB, fs vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(slices.Clone(data)) // a vfs.File may change what it is given
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// killed is the file system as a kill of the process at this moment leaves it.
func killed(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

// clone copies a file system, so that each trial damages its own.
func clone(t testing.TB, from *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	must(t, to.MkdirAll(dbDir, 0o755))
	names, err := from.List(dbDir)
	must(t, err)
	for _, name := range names {
		write(t, to, to.PathJoin(dbDir, name), read(t, from, from.PathJoin(dbDir, name)))
	}
	return to
}
