package forensic

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// version is the state that the edits add up to.
type version struct {
	m        Manifest
	tables   map[levelFile]Table
	backings map[uint64]uint64
}

func newVersion(name string, num uint64, size int) version {
	return version{tables: map[levelFile]Table{}, backings: map[uint64]uint64{},
		m: Manifest{File: name, Num: num, Size: int64(size), Blobs: map[uint64]int64{}}}
}

// apply adds one edit, as far as it fits, and says what in it can't be: a sound record may still not
// fit the records before it, when one of those is gone.
func (v *version) apply(e edit) (err error) {
	wrong := func(format string, a ...any) {
		if err == nil {
			err = fmt.Errorf(format, a...)
		}
	}
	if e.comparer != "" {
		v.m.Comparer = e.comparer
	}
	if e.minLog != 0 {
		if e.minLog < v.m.MinWAL {
			wrong("the oldest log goes back from %d to %d", v.m.MinWAL, e.minLog)
		}
		v.m.MinWAL = e.minLog
	}
	v.m.NextFile = max(v.m.NextFile, e.nextFile)
	v.m.LastSeq = max(v.m.LastSeq, e.lastSeq)
	for _, d := range e.deleted {
		if _, ok := v.tables[d]; !ok {
			wrong("table %06d is taken from level %d, where it is not", d.num, d.level)
		}
		delete(v.tables, d)
	}
	for num, size := range e.backings {
		v.backings[num] = size
	}
	for _, t := range e.added {
		at := levelFile{t.Level, t.Num}
		if _, ok := v.tables[at]; ok {
			wrong("table %06d is put into level %d twice", t.Num, t.Level)
		}
		v.tables[at] = t
	}
	for _, num := range e.removedBackings {
		delete(v.backings, num)
	}
	for num, size := range e.blobs {
		v.m.Blobs[num] = int64(size)
	}
	for _, num := range e.deletedBlobs {
		delete(v.m.Blobs, num)
	}
	return err
}

// finish lists the tables in the order of their numbers.
func (v *version) finish() {
	for _, t := range v.tables {
		if size, ok := v.backings[t.File]; ok && t.Virtual {
			t.Size = int64(size)
		}
		v.m.Tables = append(v.m.Tables, t)
	}
	slices.SortFunc(v.m.Tables, func(a, b Table) int { return int(a.Num) - int(b.Num) })
}

// readManifest walks one MANIFEST. The returned state is that of the edits in front of the first
// flaw: what Pebble would load without a word.
func readManifest(fs vfs.FS, dir, name string, num uint64) (Manifest, []Finding, error) {
	data, bad, err := readFile(fs, fs.PathJoin(dir, name))
	if err != nil {
		return Manifest{}, nil, err
	}
	v := newVersion(name, num, len(data))
	var found []Finding
	whole := true // so far every record has been one that Pebble serves
	w, _ := walk(data, framing{}, func(r logRecord) error {
		e, err := readEdit(r.payload)
		if err == nil && whole && !r.repaired {
			err = v.apply(e)
		}
		if err != nil {
			found = append(found, Finding{File: name, Kind: Damage, Offset: r.off, End: r.end,
				Why: fmt.Sprintf("a record with a good checksum makes no sense (%v)", err)})
			whole = false
			return nil
		}
		if whole = whole && !r.repaired; whole {
			v.m.Edits++
		}
		return nil
	})
	v.m.Served, v.m.Intact = w.served, w.intact()
	v.finish()
	for _, f := range w.flaws {
		found = append(found, manifestFinding(name, f))
	}
	if bad > 0 {
		found = append(found, unreadable(name, bad))
	}
	return v.m, found, nil
}

// manifestFinding judges a flaw of a MANIFEST. Edits are written and synced one at a time, so only
// the last record can be torn: whatever begins behind a flaw proves damage.
func manifestFinding(name string, f flaw) Finding {
	out := Finding{File: name, Kind: TornTail, Offset: f.off, End: f.resume, Why: f.cause}
	switch {
	case f.bit >= 0:
		out.Kind, out.FlippedBit, out.Bit = Damage, true, f.bit
	case f.behind:
		out.Kind, out.Why = Damage, f.cause+", and sound records follow it"
	}
	return out
}

// currentManifest finds the MANIFEST that the markers point to, and what is wrong with them. A
// missing manifest marker is the worst case of all: Pebble then makes a new database in the place
// and deletes every table of the old one.
func (r *Report) currentManifest(fs vfs.FS, l listing) (name string, ok bool) {
	markers, found := readMarkers(l.markers)
	r.Findings = append(r.Findings, found...)
	format, haveFormat := markers["format-version"]
	if haveFormat {
		v, err := strconv.ParseUint(format.value, 10, 31)
		if err != nil || v < uint64(pebble.FormatMinSupported) || v > uint64(pebble.FormatNewest) {
			r.add(Finding{File: format.file, Kind: Damage,
				Why: "the format version is not one that Pebble knows"})
		}
		r.FormatVersion = int(v)
	}
	current, haveCurrent := markers["manifest"]
	if !haveCurrent {
		if !r.unfinished(fs, l, haveFormat) {
			r.Exists = true
			r.add(Finding{Kind: Missing, Why: "there is no marker of the current MANIFEST"})
		}
		return "", false
	}
	num, isNum := strings.CutPrefix(current.value, "MANIFEST-")
	c, _ := classify(current.value)
	if !isNum || c != classManifest {
		r.Exists = true
		r.add(Finding{File: current.file, Kind: Damage, Why: fmt.Sprintf("it points to %q", num)})
		return "", false
	}
	if !haveFormat {
		if r.unfinished(fs, l, false) {
			return "", false
		}
		r.Exists = true
		r.add(Finding{Kind: Missing, Why: "there is no marker of the format version"})
	}
	r.Exists = true
	return current.value, true
}

// unfinished reports whether a crash ended the database's creation before it held anything. A
// format version is marked last, so with it the creation was over.
func (r *Report) unfinished(fs vfs.FS, l listing, haveFormat bool) bool {
	if haveFormat || len(l.files[classTable]) > 0 || len(l.files[classOptions]) > 0 {
		return false
	}
	for num, name := range l.files[classManifest] {
		m, found, err := readManifest(fs, r.Dir, name, num)
		if err != nil || m.Edits > 1 || len(m.Tables) > 0 || !Sound(found) {
			return false
		}
	}
	for num, name := range l.files[classWAL] {
		data, _, err := readFile(fs, fs.PathJoin(r.Dir, name))
		if err != nil {
			return false
		}
		w, _ := walk(data, walFraming(num), func(logRecord) error { return nil })
		if w.end > recyclableHeader {
			return false
		}
	}
	return true
}
