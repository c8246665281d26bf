package forensic_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

func tables(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".sst") })
	slices.Sort(names)
	return names
}

// uncompacted keeps compactions out, so that a table that goes was thrown away.
func uncompacted(fs vfs.FS) *pebble.Options {
	o := options(fs)
	o.DisableAutomaticCompactions, o.L0StopWritesThreshold = true, 1000
	return o
}

// damagedManifest is a killed store with one bit turned in the last record of its MANIFEST, and
// the tables it had.
func damagedManifest(t *testing.T) (mem *vfs.MemFS, before []string) {
	t.Helper()
	src := vfs.NewCrashableMem()
	w := newWorkloadWith(t, uncompacted(src), 5)
	w.run(900, false)
	mem = clone(t, killed(src))
	w.close()
	path := mem.PathJoin(dbDir, inspect(t, mem).Manifest.File)
	data := read(t, mem, path)
	data[len(data)-10] ^= 4
	write(t, mem, path, data)
	return mem, tables(t, mem, dbDir)
}

// TestPebbleDeletesGoodTables shows the trap: without the archive, tables that the MANIFEST's
// damaged end referred to are gone after Open, and there was no error.
func TestPebbleDeletesGoodTables(t *testing.T) {
	mem, before := damagedManifest(t)
	db, err := pebble.Open(dbDir, uncompacted(mem))
	if err != nil {
		t.Fatalf("Pebble refuses (%v): the trap has changed", err)
	}
	must(t, db.Close())
	after := tables(t, mem, dbDir)
	gone := 0
	for _, name := range before {
		if !slices.Contains(after, name) {
			gone++
		}
	}
	if gone == 0 {
		t.Fatalf("Pebble deleted none of %v: the trap has changed", before)
	}
	t.Logf("Pebble opened without an error and deleted %d of %d tables", gone, len(before))
}

func TestArchiveKeepsWhatPebbleDeletes(t *testing.T) {
	mem, before := damagedManifest(t)
	a := forensic.ArchiveFS(mem, dbDir, "quarantine/open-1")
	db, err := pebble.Open(dbDir, uncompacted(a))
	must(t, err)
	must(t, a.Keep("the MANIFEST is damaged"))
	must(t, db.Close())
	all := append(tables(t, mem, dbDir), tables(t, mem, "quarantine/open-1")...)
	for _, name := range before {
		if !slices.Contains(all, name) {
			t.Errorf("table %s is gone", name)
		}
	}
	if len(a.Files()) == 0 {
		t.Error("nothing was archived")
	}
	again := forensic.ArchiveFS(mem, dbDir, "quarantine/open-1")
	must(t, again.Release())
	if _, err := mem.Stat("quarantine/open-1/KEPT"); err != nil {
		t.Errorf("a kept archive was released: %v", err)
	}
}

func TestArchiveRelease(t *testing.T) {
	mem := vfs.NewMem()
	a := forensic.ArchiveFS(mem, dbDir, "archive")
	must(t, mem.MkdirAll(dbDir, 0o755))
	for _, name := range []string{"000004.log", "000005.sst", "OPTIONS-000003", "LOCK", "temporary.000007.dbtmp"} {
		write(t, mem, mem.PathJoin(dbDir, name), []byte(name))
		must(t, a.Remove(mem.PathJoin(dbDir, name)))
	}
	write(t, mem, dbDir+"/000004.log", []byte("a second one of that name"))
	f, err := a.ReuseForWrite(dbDir+"/000004.log", dbDir+"/000009.log", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, f.Close())
	if got := string(read(t, mem, dbDir+"/000009.log")); got != "" {
		t.Errorf("the reused log still holds %q", got)
	}
	want := []string{"000004.log", "000005.sst", "OPTIONS-000003", "000004.log~1"}
	if got := a.Files(); !slices.Equal(got, want) {
		t.Errorf("archived %v, want %v", got, want)
	}
	if got := string(read(t, mem, "archive/000004.log")); got != "000004.log" {
		t.Errorf("the archived log holds %q", got)
	}
	if err := a.Remove(dbDir + "/000042.sst"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing what is not there: %v", err)
	}
	// A crash here: the next one takes over what lies in the archive.
	a = forensic.ArchiveFS(mem, dbDir, "archive")
	must(t, a.Release())
	if names, err := mem.List("archive"); err == nil {
		t.Errorf("released, but %v is left", names)
	}
	write(t, mem, dbDir+"/000011.sst", nil)
	must(t, a.Remove(dbDir+"/000011.sst"))
	if _, err := mem.Stat("archive"); err == nil {
		t.Error("a released archive still archives")
	}
}

func TestArchiveCreateAndRename(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll(dbDir, 0o755))
	a := forensic.ArchiveFS(mem, dbDir+"/", "archive")
	write(t, mem, dbDir+"/MANIFEST-000001", []byte("old"))
	f, err := a.Create(dbDir+"/MANIFEST-000001", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, f.Close())
	write(t, mem, dbDir+"/OPTIONS-000002", []byte("old options"))
	write(t, mem, dbDir+"/temporary.000002.dbtmp", []byte("new options"))
	must(t, a.Rename(dbDir+"/temporary.000002.dbtmp", dbDir+"/OPTIONS-000002"))
	if got := string(read(t, mem, "archive/MANIFEST-000001")); got != "old" {
		t.Errorf("created over: archive holds %q", got)
	}
	if got := string(read(t, mem, "archive/OPTIONS-000002")); got != "old options" {
		t.Errorf("renamed over: archive holds %q", got)
	}
	write(t, mem, dbDir+"/000005.sst", []byte("table"))
	must(t, a.RemoveAll(dbDir))
	if got := string(read(t, mem, "archive/000005.sst")); got != "table" {
		t.Errorf("removed with its directory: archive holds %q", got)
	}
}
