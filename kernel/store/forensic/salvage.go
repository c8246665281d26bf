package forensic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// WALSalvage tells what SalvageWAL got out of a log.
type WALSalvage struct {
	Batches  int
	Closed   bool
	Findings []Finding // what was wrong; a torn tail is among it, without a judgement
}

// SalvageWAL hands out every readable batch of a log: those in front of a flaw, those behind it, and
// those that one flipped bit had spoilt. A batch is valid until visit returns; ReadBatch reads it.
// The error is visit's, or that the file can't be read or its name tells no log number.
func SalvageWAL(fsys vfs.FS, path string, visit func(batchRepr []byte) error) (WALSalvage, error) {
	var out WALSalvage
	name := fsys.PathBase(path)
	c, num := classify(unarchived(name))
	if c != classWAL {
		return out, fmt.Errorf("salvage %s: its name is not a log's", name)
	}
	data, bad, err := readFile(fsys, path)
	if err != nil {
		return out, err
	}
	if bad > 0 {
		out.Findings = append(out.Findings, unreadable(name, bad))
	}
	w, err := walk(data, walFraming(num), func(r logRecord) error {
		if err := ReadBatch(r.payload, func(Op) error { return nil }); err != nil {
			out.Findings = append(out.Findings, Finding{File: name, Kind: Damage, Offset: r.off, End: r.end,
				Why: fmt.Sprintf("a record with a good checksum is no batch (%v)", err)})
			return nil
		}
		out.Batches++
		return visit(r.payload)
	})
	out.Closed = w.closed
	for _, f := range w.flaws {
		finding := Finding{File: name, Kind: TornTail, Offset: f.off, End: f.resume, Why: f.cause}
		if f.bit >= 0 {
			finding.Kind, finding.FlippedBit, finding.Bit = Damage, true, f.bit
		} else if f.behind {
			finding.Kind = Damage
		}
		out.Findings = append(out.Findings, finding)
	}
	return out, err
}

// unarchived takes off what Archive put behind a name to make it unique.
func unarchived(name string) string {
	stem, _, _ := strings.Cut(name, "~")
	return stem
}

// Entry is one operation that a salvage found. The slices are valid until the visit returns.
type Entry struct {
	Key []byte
	// Value is a set's value, or the end of the span of a range operation.
	Value []byte
	Seq   uint64 // the higher one is the newer version of a key
	Kind  pebble.InternalKeyKind
	File  string
	// Live says that, as far as the MANIFEST can be read, the file holds the state. An entry of any
	// other file may have been deleted since, with nothing left to say so: it is evidence of a fact,
	// never of state.
	Live bool
}

// DirSalvage tells what SalvageDir got out of its directories.
type DirSalvage struct {
	Manifest Manifest // as far as it can be read, flipped bits turned back
	Logs     map[string]WALSalvage
	Tables   map[string]TableSalvage
	Findings []Finding // of all files, and of files that the MANIFEST refers to and nobody has
}

// SalvageDir hands out every readable operation of every log and table in the given directories:
// the damaged one first, then archives of it. Newer files come first, but only the sequence number
// decides which of two versions is newer; the same operation may come from several files. The
// error is visit's, or that a directory can't be listed.
func SalvageDir(fsys vfs.FS, dirs []string, visit func(Entry) error) (DirSalvage, error) {
	out := DirSalvage{Logs: map[string]WALSalvage{}, Tables: map[string]TableSalvage{}}
	var files []salvageFile
	for _, dir := range dirs {
		names, err := fsys.List(dir)
		if err != nil {
			return out, fmt.Errorf("list %s: %w", dir, err)
		}
		for _, name := range names {
			c, num := classify(unarchived(name))
			files = append(files, salvageFile{dir: dir, name: name, class: c, num: num})
		}
	}
	live := out.readState(fsys, files)
	slices.SortStableFunc(files, func(a, b salvageFile) int {
		if a.class != b.class {
			return int(a.class) - int(b.class) // logs before tables
		}
		return int(b.num) - int(a.num)
	})
	for _, f := range files {
		f.live = live(f)
		if err := out.file(fsys, f, visit); err != nil {
			return out, err
		}
	}
	out.absent(files)
	return out, nil
}

// salvageFile is one file that a salvage looks at.
type salvageFile struct {
	dir, name string
	class     class
	num       uint64
	live      bool
}

// readState reads the MANIFEST leniently and says which files it calls live: every edit that can
// be read counts, also behind a flaw.
func (d *DirSalvage) readState(fsys vfs.FS, files []salvageFile) (live func(salvageFile) bool) {
	v, found := lenientManifest(fsys, files)
	d.Manifest = v.m
	d.Findings = append(d.Findings, found...)
	tables := map[uint64]bool{}
	for _, t := range v.m.Tables {
		tables[t.File] = true
	}
	return func(f salvageFile) bool {
		switch f.class {
		case classWAL:
			return v.m.File != "" && f.num >= v.m.MinWAL
		case classTable:
			return tables[f.num]
		}
		return false
	}
}

// lenientManifest reads the MANIFEST that the marker points to, or the newest one.
func lenientManifest(fsys vfs.FS, files []salvageFile) (version, []Finding) {
	var markers []string
	var newest, pointed *salvageFile
	for i, f := range files {
		switch {
		case f.class == classMarker && f.dir == files[0].dir:
			markers = append(markers, f.name)
		case f.class == classManifest && (newest == nil || f.num > newest.num):
			newest = &files[i]
		}
	}
	m, _ := readMarkers(markers)
	for i, f := range files {
		if f.class == classManifest && unarchived(f.name) == m["manifest"].value && pointed == nil {
			pointed = &files[i]
		}
	}
	if pointed == nil {
		pointed = newest
	}
	if pointed == nil {
		return version{}, []Finding{{Kind: Missing, Why: "there is no MANIFEST"}}
	}
	v := newVersion(pointed.name, pointed.num, 0)
	data, bad, err := readFile(fsys, fsys.PathJoin(pointed.dir, pointed.name))
	if err != nil {
		return v, []Finding{{File: pointed.name, Kind: Missing, Why: err.Error()}}
	}
	w, _ := walk(data, framing{}, func(r logRecord) error {
		if e, err := readEdit(r.payload); err == nil {
			_ = v.apply(e) // an edit that does not fit, fits as far as it can
			v.m.Edits++
		}
		return nil
	})
	v.m.Size, v.m.Served, v.m.Intact = w.size, w.served, w.intact()
	v.finish()
	var found []Finding
	for _, f := range w.flaws {
		found = append(found, manifestFinding(pointed.name, f))
	}
	if bad > 0 {
		found = append(found, unreadable(pointed.name, bad))
	}
	return v, found
}

// file salvages one log or table.
func (d *DirSalvage) file(fsys vfs.FS, f salvageFile, visit func(Entry) error) error {
	path := fsys.PathJoin(f.dir, f.name)
	var visitErr error
	give := func(e Entry) error {
		e.File, e.Live = f.name, f.live
		visitErr = visit(e)
		return visitErr
	}
	var found []Finding
	var err error
	switch f.class {
	case classWAL:
		var s WALSalvage
		s, err = SalvageWAL(fsys, path, func(repr []byte) error {
			return ReadBatch(repr, func(op Op) error {
				if op.Kind == pebble.InternalKeyKindLogData {
					return nil
				}
				return give(Entry{Key: op.Key, Value: op.Value, Seq: op.Seq, Kind: op.Kind})
			})
		})
		d.Logs[path], found = s, s.Findings
	case classTable:
		var s TableSalvage
		s, err = SalvageTable(fsys, path,
			func(key, value []byte, seq uint64, kind pebble.InternalKeyKind) error {
				return give(Entry{Key: key, Value: value, Seq: seq, Kind: kind})
			})
		d.Tables[path], found = s, s.Findings
	default:
		return nil
	}
	d.Findings = append(d.Findings, found...)
	if visitErr != nil {
		return visitErr
	}
	if err != nil {
		d.Findings = append(d.Findings, Finding{File: f.name, Kind: Damage, Why: err.Error()})
	}
	return nil
}

// absent adds the tables that the MANIFEST refers to and no directory has.
func (d *DirSalvage) absent(files []salvageFile) {
	have := map[uint64]bool{}
	for _, f := range files {
		if f.class == classTable {
			have[f.num] = true
		}
	}
	for _, t := range d.Manifest.Tables {
		if !have[t.File] {
			d.Findings = append(d.Findings, Finding{File: fmt.Sprintf("%06d.sst", t.File), Kind: Missing,
				Why: fmt.Sprintf("the MANIFEST refers to it; it held keys from %q to %q", t.Smallest, t.Largest)})
		}
	}
}
