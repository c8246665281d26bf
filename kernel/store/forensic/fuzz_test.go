package forensic_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

// seeds adds the whole content of an image's files to a corpus, small ones only: the fuzzer is
// after structure, not bulk.
func seeds(f *testing.F, pick func(name string, data []byte)) {
	f.Helper()
	for _, small := range []bool{true, false} {
		mem := vfs.NewCrashableMem()
		w := newWorkload(f, mem, 3)
		w.run(3, true)
		if !small {
			must(f, w.db.Flush())
			w.run(2, true)
			must(f, w.db.DeleteRange([]byte("a"), []byte("b"), pebble.Sync))
			must(f, w.db.Merge([]byte("m"), []byte("x"), pebble.Sync))
		}
		names, err := mem.List(dbDir)
		must(f, err)
		for _, name := range names {
			pick(name, read(f, mem, mem.PathJoin(dbDir, name)))
		}
		w.close()
		names, err = mem.List(dbDir)
		must(f, err)
		for _, name := range names {
			pick(name, read(f, mem, mem.PathJoin(dbDir, name)))
		}
	}
}

func FuzzWAL(f *testing.F) {
	seeds(f, func(name string, data []byte) {
		var num uint64
		if _, err := fmt.Sscanf(name, "%d.log", &num); err == nil {
			f.Add(data, uint8(num))
		}
	})
	f.Fuzz(func(t *testing.T, data []byte, num uint8) {
		mem := vfs.NewMem()
		must(t, mem.MkdirAll(dbDir, 0o755))
		path := fmt.Sprintf("%s/%06d.log", dbDir, num)
		write(t, mem, path, data)
		s, err := forensic.SalvageWAL(mem, path, func(repr []byte) error {
			return forensic.ReadBatch(repr, func(forensic.Op) error { return nil })
		})
		must(t, err)
		if s.Batches > len(data)/(11+12) {
			t.Errorf("%d batches in %d bytes", s.Batches, len(data))
		}
		if string(read(t, mem, path)) != string(data) {
			t.Error("the file was changed")
		}
	})
}

func FuzzManifest(f *testing.F) {
	seeds(f, func(name string, data []byte) {
		if len(name) > 9 && name[:9] == "MANIFEST-" {
			f.Add(data)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewMem()
		must(t, mem.MkdirAll(dbDir, 0o755))
		write(t, mem, dbDir+"/MANIFEST-000001", data)
		write(t, mem, dbDir+"/marker.manifest.000001.MANIFEST-000001", nil)
		write(t, mem, dbDir+"/marker.format-version.000001.024", nil)
		write(t, mem, dbDir+"/OPTIONS-000003", data)
		inspect(t, mem)
		_, err := forensic.SalvageDir(mem, []string{dbDir}, func(forensic.Entry) error { return nil })
		must(t, err)
	})
}

func FuzzBatch(f *testing.F) {
	seeds(f, func(name string, data []byte) {
		if len(data) > 19 {
			f.Add(data[19:])
		}
	})
	f.Fuzz(func(t *testing.T, repr []byte) {
		_ = forensic.ReadBatch(repr, func(op forensic.Op) error {
			if len(op.Key)+len(op.Value) > len(repr) {
				t.Error("an operation is longer than its batch")
			}
			return nil
		})
	})
}

func FuzzHighWater(f *testing.F) {
	mem := vfs.NewMem()
	h, _, err := forensic.OpenHighWater(mem, markPath)
	must(f, err)
	f.Add(read(f, mem, markPath))
	must(f, h.Raise(forensic.Mark{Commit: 1}))
	f.Add(read(f, mem, markPath))
	must(f, h.Raise(forensic.Mark{Commit: 2, Lineage: lineage}))
	f.Add(read(f, mem, markPath))
	must(f, h.Close())
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewMem()
		write(t, mem, markPath, data)
		h, found, err := forensic.OpenHighWater(mem, markPath)
		must(t, err)
		if !forensic.Sound(found) {
			t.Errorf("a damaged mark keeps the store shut: %v", found)
		}
		h.Mark().Check(&forensic.Report{})
		must(t, h.Raise(forensic.Mark{Lineage: lineage, Commit: ^uint64(0)}))
		must(t, h.Close())
	})
}

func FuzzTable(f *testing.F) {
	seeds(f, func(name string, data []byte) {
		if len(name) > 4 && name[len(name)-4:] == ".sst" {
			f.Add(data)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewMem()
		must(t, mem.MkdirAll(dbDir, 0o755))
		write(t, mem, dbDir+"/000005.sst", data)
		visit := func(_, _ []byte, _ uint64, _ pebble.InternalKeyKind) error { return nil }
		_, err := forensic.SalvageTable(mem, dbDir+"/000005.sst", visit)
		_ = err // a table that can't be read is an answer; a panic is not
		forensic.VerifyTable(mem, dbDir+"/000005.sst")
	})
}
