package forensic_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/kernel/store/forensic"
)

// TestUnreadableSectors: what the disk itself can't read is told, and the rest of the file is not
// given up for it.
func TestUnreadableSectors(t *testing.T) {
	img := build(t, "piled", pebble.FormatNewest)
	w := inspect(t, img.fs).WALs[0]
	path := dbDir + "/" + w.File
	all := batches(t, img.fs, path)
	bad := errorfs.Wrap(img.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		sequential := op.Kind == errorfs.OpFileRead
		page := op.Kind == errorfs.OpFileReadAt && op.Offset == 8192
		if op.Path == path && (sequential || page) {
			return errDisk
		}
		return nil
	}))
	r := inspect(t, bad)
	if r.Sound() {
		t.Errorf("not told: %v", r.Findings)
	}
	got := batches(t, bad, path)
	if len(got) < len(all)/2 || len(got) >= len(all) {
		t.Errorf("%d of %d batches are read around 4 KB", len(got), len(all))
	}
	for seq, repr := range got {
		if all[seq] != repr {
			t.Errorf("batch %d is not what was written", seq)
		}
	}
}

// BenchmarkInspect inspects a killed store with 8 MB of log.
func BenchmarkInspect(b *testing.B) {
	mem := vfs.NewCrashableMem()
	o := options(mem)
	o.MemTableSize = 32 << 20
	w := newWorkloadWith(b, o, 1)
	for inspect(b, mem).WALs[0].Served < 8<<20 {
		w.run(500, true)
	}
	cut := clone(b, killed(mem))
	w.close()
	size := inspect(b, cut).WALs[0].Size
	b.SetBytes(size)
	for b.Loop() {
		if r, err := forensic.Inspect(cut, dbDir); err != nil || !r.Sound() {
			b.Fatal(r.Findings, err)
		}
	}
}
