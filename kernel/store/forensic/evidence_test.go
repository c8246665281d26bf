package forensic_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

// tail makes a store whose only log holds n small batches of the given value size, and returns the
// killed file system and the log's path.
func tail(t *testing.T, n, size int, opt *pebble.WriteOptions, promise bool) (*vfs.MemFS, string) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := options(mem)
	o.MemTableSize = 4 << 20
	db, err := pebble.Open(dbDir, o)
	must(t, err)
	must(t, db.Close())
	// The first log of a new store is written before its format is raised: without sync offsets.
	db, err = pebble.Open(dbDir, o)
	must(t, err)
	acked := uint64(0)
	for i := range n {
		b := db.NewBatch()
		must(t, b.Set(fmt.Appendf(nil, "%06d", i), []byte(strings.Repeat("v", size)), nil))
		if promise {
			must(t, b.LogData(forensic.Promise(acked), nil))
		}
		must(t, db.Apply(b, opt))
		acked = uint64(b.SeqNum())
	}
	must(t, db.LogData(nil, pebble.Sync)) // so that all of it is in the file
	cut := clone(t, killed(mem))
	must(t, db.Close())
	r := inspect(t, cut)
	if !r.Sound() || len(r.WALs) != 1 {
		t.Fatalf("undamaged: %v, %d logs", r.Findings, len(r.WALs))
	}
	return cut, dbDir + "/" + r.WALs[0].File
}

// smash overwrites bytes so that no single bit explains it.
func smash(t *testing.T, fs vfs.FS, path string, at, n int, with byte) {
	t.Helper()
	data := read(t, fs, path)
	for i := at; i < at+n; i++ {
		if with == 0 {
			data[i] = 0
		} else {
			data[i] ^= with
		}
	}
	write(t, fs, path, data)
}

// TestEvidence: a hole in the last log with sound records behind it is a torn tail only when
// nothing proves that its bytes had been durable.
func TestEvidence(t *testing.T) {
	for _, tc := range []struct {
		name    string
		opt     *pebble.WriteOptions
		promise bool
		at, n   int
		with    byte
		want    forensic.Kind
		why     string
	}{
		{"unsynced pages lost", pebble.NoSync, false, 8192, 4096, 0, forensic.TornTail, "no sound chunk"},
		{"pages lost, but called synced", pebble.Sync, false, 8192, 4096, 0, forensic.Damage, "was synced"},
		{"pages lost, but called acknowledged", pebble.NoSync, true, 8192, 4096, 0, forensic.Damage, "was acknowledged"},
		{"less than a sector lost", pebble.NoSync, false, 8450, 5, 0xa5, forensic.Damage, "lost sector"},
		{"less than a sector lost, across its end", pebble.NoSync, false, 8192, 5, 0xa5, forensic.Damage, "lost sector"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs, path := tail(t, 600, 40, tc.opt, tc.promise)
			smash(t, fs, path, tc.at, tc.n, tc.with)
			r := inspect(t, fs)
			if len(r.Findings) != 1 || r.Findings[0].Kind != tc.want || !strings.Contains(r.Findings[0].Why, tc.why) {
				t.Errorf("got %v, want %s: %s", r.Findings, tc.want, tc.why)
			}
			if r.Sound() != (tc.want == forensic.TornTail) {
				t.Errorf("sound: %t", r.Sound())
			}
		})
	}
}

// TestEvidenceBetweenLogs: what each log by itself does not show, the sequence numbers do; and a
// log that is not the last must end with its mark.
func TestEvidenceBetweenLogs(t *testing.T) {
	img := build(t, "piled", pebble.FormatNewest)
	logs := inspect(t, img.fs).WALs
	middle := logs[1]
	fs := img.copyOf(t)
	must(t, fs.Remove(dbDir+"/"+middle.File))
	r := inspect(t, fs)
	lost := forensic.Seqs{First: middle.Extents[0].Seqs.First, Last: logs[2].Extents[0].Seqs.First - 1}
	if r.Sound() || r.Findings[0].Kind != forensic.Missing || r.Findings[0].Lost != lost {
		t.Errorf("a log is gone: %v, want %v lost", r.Findings, lost)
	}
	fs = img.copyOf(t)
	path := dbDir + "/" + middle.File
	whole := read(t, fs, path)
	at := middle.Served - 12 // the mark is the last 11 bytes
	for {                    // back to where the last batch begins
		write(t, fs, path, whole[:at])
		r = inspect(t, fs)
		if r.WALs[1].Served == at {
			break
		}
		if at = min(at-1, r.WALs[1].Served); at <= 0 {
			t.Fatal("no batch begins in the middle log")
		}
	}
	if got, err := served(fs); err != nil || maps.Equal(got, img.want) {
		t.Errorf("cut between two batches, Pebble serves %d keys, %v: the trap has changed", len(got), err)
	}
	if r.Sound() || !strings.Contains(r.Err().Error(), "no closing mark") {
		t.Errorf("the end of an older log is gone: %v", r.Findings)
	}
}

// TestFalseTrailer: the lowest bit of an even log number makes a chunk look to Pebble like the
// mark of a closed log, and Pebble ends the log there without a word, even an older one.
func TestFalseTrailer(t *testing.T) {
	img := build(t, "piled", pebble.FormatNewest)
	for _, w := range inspect(t, img.fs).WALs {
		if w.Num%2 == 1 {
			continue
		}
		fs := img.copyOf(t)
		path := dbDir + "/" + w.File
		data := read(t, fs, path)
		data[7] ^= 1 // the first chunk's log number
		write(t, fs, path, data)
		got, err := served(fs)
		if err != nil || len(got) == len(img.want) {
			t.Errorf("%s: Pebble serves %d keys, %v: the trap has changed", w.File, len(got), err)
		}
		if r := inspect(t, fs); r.Sound() {
			t.Errorf("%s: not told", w.File)
		}
		return
	}
	t.Error("no log with an even number")
}
