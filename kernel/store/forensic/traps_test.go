package forensic_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
)

// TestMarkers: what is wrong with a marker is told, whatever Pebble makes of it.
func TestMarkers(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	names, err := img.fs.List(dbDir)
	must(t, err)
	var manifest, format string
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			manifest = name
		} else if strings.HasPrefix(name, "marker.format-version.") {
			format = name
		}
	}
	for _, tc := range []struct {
		from, to string
		kind     forensic.Kind
	}{
		{manifest, "", forensic.Missing},
		{manifest, "marker.manifest.000001.MANIFEST-999999", forensic.Missing},
		{manifest, "marker.manifest.000001.MANIFASD-000001", forensic.Damage},
		{manifest, "marker.manifest.00000x.MANIFEST-000001", forensic.Damage},
		{manifest, "marker.manifesu.000001.MANIFEST-000001", forensic.Unexpected},
		{format, "", forensic.Missing},
		{format, "marker.format-version.000011.424", forensic.Damage},
		{format, "marker.format-version.000011.02<", forensic.Damage},
		{format, "marker.format-version.000011.001", forensic.Damage},
	} {
		fs := img.copyOf(t)
		if tc.to == "" {
			must(t, fs.Remove(dbDir+"/"+tc.from))
		} else {
			must(t, fs.Rename(dbDir+"/"+tc.from, dbDir+"/"+tc.to))
		}
		r := inspect(t, fs)
		if r.Sound() || r.Findings[0].Kind != tc.kind || !r.Exists {
			t.Errorf("%s -> %q: exists %t, %v", tc.from, tc.to, r.Exists, r.Findings)
		}
	}
}

// TestPebbleStartsAnew shows the trap: without the manifest marker Pebble makes a new database in
// the place, replays the logs that are left into it, and deletes the old one's tables.
func TestPebbleStartsAnew(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	fs := img.copyOf(t)
	before := tables(t, fs, dbDir)
	names, err := fs.List(dbDir)
	must(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			must(t, fs.Remove(dbDir+"/"+name))
		}
	}
	db, err := pebble.Open(dbDir, options(fs))
	must(t, err)
	got, err := content(db)
	must(t, err)
	must(t, db.Close())
	left := 0
	for _, name := range tables(t, fs, dbDir) {
		if slices.Contains(before, name) {
			left++
		}
	}
	if len(got) >= len(img.want) || left > 0 {
		t.Errorf("%d of %d keys, %d of %d tables are left: the trap has changed", len(got), len(img.want), left, len(before))
	}
}

// TestMarkerSetBack: a marker that points to an older MANIFEST, which is whole, is a rollback.
func TestMarkerSetBack(t *testing.T) {
	used := vfs.NewMem()
	w := newWorkload(t, used, 4)
	w.run(300, false)
	w.close()
	fresh := vfs.NewMem()
	o := options(fresh)
	o.MaxManifestFileSize = 1
	w = newWorkloadWith(t, o, 4)
	w.run(300, false)
	w.close()
	was, left := inspect(t, used).Manifest, inspect(t, fresh).Manifest
	if was.Edits < 3 || left.Edits > 2 {
		t.Fatalf("%d and %d edits: too little to mean anything", was.Edits, left.Edits)
	}
	newer := dbDir + "/MANIFEST-900000"
	write(t, used, newer, read(t, used, dbDir+"/"+was.File))
	if r := inspect(t, used); r.Sound() || r.Findings[0].Kind != forensic.Rollback {
		t.Errorf("a MANIFEST that was in use: %v", r.Findings)
	}
	write(t, used, newer, read(t, fresh, dbDir+"/"+left.File))
	if r := inspect(t, used); !r.Sound() {
		t.Errorf("a MANIFEST that a crash left: %v", r.Findings)
	}
}

// TestForeignTrailer: the closing mark of the log that a file was before may differ from this log's
// in one bit; it is the remains of the old log, not a damaged mark.
func TestForeignTrailer(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	fs := img.copyOf(t)
	const num = 1<<20 + 6 // its mark carries 1<<20 + 7, the old log's 7
	write(t, fs, fmt.Sprintf("%s/%06d.log", dbDir, num), []byte{0, 0, 0, 0, 0, 0, 5, 7, 0, 0, 0, 1, 2, 3})
	if r := inspect(t, fs); len(r.Findings) > 0 {
		t.Errorf("told: %v", r.Findings)
	}
}

// TestMarkCheck tries each rule of the mark alone.
func TestMarkCheck(t *testing.T) {
	report := forensic.Report{Exists: true, LastSeq: 100,
		Manifest: forensic.Manifest{Num: 10, Intact: 500, MinWAL: 20},
		WALs:     []forensic.WAL{{Num: 21, Intact: 40000}, {Num: 25, Intact: 32763, Last: true}}}
	for _, tc := range []struct {
		name  string
		mark  forensic.Mark
		sound bool
	}{
		{"nothing", forensic.Mark{}, true},
		{"all of it", forensic.Mark{ManifestNum: 10, ManifestSize: 500, WALNum: 21, WALOffset: 40000, Seq: 100}, true},
		{"an older MANIFEST", forensic.Mark{ManifestNum: 9, ManifestSize: 9000}, true},
		{"a newer MANIFEST", forensic.Mark{ManifestNum: 11}, false},
		{"more of the MANIFEST", forensic.Mark{ManifestNum: 10, ManifestSize: 501}, false},
		{"a flushed log", forensic.Mark{WALNum: 19, WALOffset: 1 << 40}, true},
		{"more of a log", forensic.Mark{WALNum: 21, WALOffset: 40001}, false},
		{"a block's unused end", forensic.Mark{WALNum: 25, WALOffset: 32768}, true},
		{"a log that is gone", forensic.Mark{WALNum: 30}, false},
		{"a later sequence number", forensic.Mark{Seq: 101}, false},
	} {
		tc.mark.Commit = 1
		if found := tc.mark.Check(&report); forensic.Sound(found) != tc.sound {
			t.Errorf("%s: %v, want sound %t", tc.name, found, tc.sound)
		}
	}
	if found := (forensic.Mark{Commit: 1}).Check(&forensic.Report{}); forensic.Sound(found) {
		t.Error("no database: not told")
	}
	if found := (forensic.Mark{}).Check(&forensic.Report{}); !forensic.Sound(found) {
		t.Errorf("no database, no mark: %v", found)
	}
}

// hooked calls a function within each Sync.
type hooked struct {
	vfs.FS
	during func(name string)
}

func (h *hooked) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return &hookedFile{f, h, name}, err
}

type hookedFile struct {
	vfs.File
	h    *hooked
	name string
}

func (f *hookedFile) Sync() error {
	f.h.during(f.name)
	return f.File.Sync()
}

// TestWatch: only what was written before a sync began counts, and a MANIFEST only once the marker
// that points to it is durable.
func TestWatch(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll(dbDir, 0o755))
	h := &hooked{FS: mem}
	w := forensic.WatchFS(h, dbDir+"/")
	expect := func(step string, want forensic.Mark) {
		t.Helper()
		if got := w.Durable(forensic.Mark{}); got != want {
			t.Errorf("%s: %+v, want %+v", step, got, want)
		}
	}
	log, err := w.Create(dbDir+"/000004.log", vfs.WriteCategoryUnspecified)
	must(t, err)
	put := func(f vfs.File, n int) {
		t.Helper()
		_, err := f.Write(make([]byte, n))
		must(t, err)
	}
	h.during = func(string) { put(log, 50) }
	put(log, 100)
	expect("written", forensic.Mark{WALNum: 4})
	must(t, log.Sync())
	expect("synced", forensic.Mark{WALNum: 4, WALOffset: 100})
	h.during = func(string) {}
	manifest, err := w.Create(dbDir+"/MANIFEST-000005", vfs.WriteCategoryUnspecified)
	must(t, err)
	put(manifest, 70)
	must(t, manifest.Sync())
	marker, err := w.Create(dbDir+"/marker.manifest.000002.MANIFEST-000005", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, marker.Close())
	expect("marker made", forensic.Mark{WALNum: 4, WALOffset: 100})
	dir, err := w.OpenDir(dbDir)
	must(t, err)
	must(t, dir.Sync())
	expect("directory synced", forensic.Mark{WALNum: 4, WALOffset: 100, ManifestNum: 5, ManifestSize: 70})
}

// TestValueBlocks: Pebble's own check of a table leaves value blocks out; ours does not, and a
// salvage loses no more than the values.
func TestValueBlocks(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open(dbDir, options(mem))
	must(t, err)
	var snapshots []*pebble.Snapshot
	for i := range 20 {
		must(t, db.Set([]byte("key"), []byte(strings.Repeat(fmt.Sprint(i), 300)), nil))
		snapshots = append(snapshots, db.NewSnapshot())
	}
	must(t, db.Flush())
	for _, s := range snapshots {
		must(t, s.Close())
	}
	names := tables(t, mem, dbDir)
	path := dbDir + "/" + names[0]
	whole := read(t, mem, path)
	must(t, db.Close())
	told, values := map[string]bool{}, 0
	for at := 0; at+3 < len(whole); at += 25 {
		write(t, mem, path, whole)
		smash(t, mem, path, at, 3, 0xa5)
		for _, f := range forensic.VerifyTable(mem, path) {
			told[f.Why] = true
		}
		got, s := tableEntries(t, mem, path)
		if values = max(values, s.Values); s.Values > 0 && (s.Whole || len(got)+s.Values != 20) {
			t.Errorf("smashed at %d: %d entries, %d values lost, whole %t", at, len(got), s.Values, s.Whole)
		}
	}
	if !told["a value block can't be read"] || values != 19 {
		t.Errorf("told %v, %d values lost at most", told, values)
	}
}
